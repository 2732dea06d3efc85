-- name: vllm-timed-trace
-- purpose: The timed_trace data set of vLLM's benchmark, with its default names and units
-- requires: timestamp, input_length, output_length
-- optional: hash_ids
-- rejects: chat_id, parent_chat_id, session_id, delay, messages, text_input
-- quantum: 1ms
-- ordered: yes
-- clock: relative
-- block: 16 tokens, the last block of a prompt may be shorter; an id is the same block anywhere in the trace
-- like: {"hash_ids": [0]}
-- tested on: published schema
-- units: timestamp in seconds from the start, with fractions
-- notes: GuideLLM's traces have the same names, and Mooncake's too, in milliseconds: this format
-- notes: and `guidellm` have to be named. Files with hash_ids are taken for Mooncake's unless it is.
SELECT
  CAST(CAST("timestamp" AS DECIMAL(30, 9)) * 1000000000 AS BIGINT) AS arrival_ns,
  CAST("input_length" AS BIGINT) AS input_tokens,
  CAST("output_length" AS BIGINT) AS output_tokens,
  "hash_ids" AS prefix_blocks,
  16 AS block_size,
  'trace' AS block_scope
FROM source
