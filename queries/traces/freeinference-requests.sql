-- name: freeinference-requests
-- purpose: FreeInference: the table of requests, sub-agents among them, as Parquet
-- requires: session_id, step, start_ms, end_ms, prompt_tokens, completion_tokens, block_ids
-- optional: model, step_trigger
-- rejects:
-- quantum: 1ms
-- ordered: no
-- clock: absolute
-- block: 16 tokens; an id is the same block anywhere in a week
-- session prompts: whole
-- tested on: published schema
-- units: start_ms and end_ms in milliseconds since 1970
-- notes: Blocks are counted by o200k and lengths by the provider: where there are more blocks than the
-- notes: length has room for, the length is that of the blocks. The table is in order of sessions:
-- notes: `tokentape trace convert --sort` puts it in order of arrival first.
SELECT
  CAST("start_ms" AS BIGINT) * 1000000 AS arrival_ns,
  greatest(
    CAST("prompt_tokens" AS BIGINT),
    16 * coalesce(CAST(array_length("block_ids") AS BIGINT), 0)
  ) AS input_tokens,
  CAST("completion_tokens" AS BIGINT) AS output_tokens,
  "session_id" AS session_id,
  greatest(CAST("end_ms" AS BIGINT) - CAST("start_ms" AS BIGINT), 0) * 1000000 AS elapsed_ns,
  "block_ids" AS prefix_blocks,
  16 AS block_size,
  'trace' AS block_scope,
  "model" AS model,
  "step_trigger" AS class
FROM source
