-- name: freeinference
-- purpose: FreeInference: sessions of coding and assistant agents, one a line
-- requires: session_id, requests.start_ms, requests.provider_tokens.prompt, requests.block_ids
-- like: {"requests": [{"start_ms": "0", "end_ms": "0", "model": "m", "step_trigger": "user", "provider_tokens": {"prompt": "0", "completion": "0"}, "block_ids": [0]}]}
-- rejects:
-- quantum: 1ms
-- ordered: no
-- clock: absolute
-- block: 16 tokens; an id is the same block anywhere in a week
-- session prompts: whole
-- tested on: published schema
-- units: start_ms and end_ms in milliseconds since 1970
-- notes: Blocks are counted by o200k and lengths by the provider: where there are more blocks than the
-- notes: length has room for, the length is that of the blocks. Requests of sub-agents, which are nested
-- notes: in the calls of tools, are left out; the table of requests has them (freeinference-requests).
WITH calls AS (
  SELECT "session_id", unnest("requests") AS call
  FROM source
)
SELECT
  CAST(call['start_ms'] AS BIGINT) * 1000000 AS arrival_ns,
  greatest(
    CAST(call['provider_tokens']['prompt'] AS BIGINT),
    16 * coalesce(CAST(array_length(call['block_ids']) AS BIGINT), 0)
  ) AS input_tokens,
  CAST(call['provider_tokens']['completion'] AS BIGINT) AS output_tokens,
  "session_id" AS session_id,
  greatest(CAST(call['end_ms'] AS BIGINT) - CAST(call['start_ms'] AS BIGINT), 0) * 1000000 AS elapsed_ns,
  call['block_ids'] AS prefix_blocks,
  16 AS block_size,
  'trace' AS block_scope,
  call['model'] AS model,
  call['step_trigger'] AS class
FROM calls
