-- name: mooncake
-- purpose: Mooncake: Kimi's conversations and tool calls, with shared prefix blocks
-- requires: timestamp, input_length, output_length, hash_ids
-- optional: session_id, delay
-- body: response_format, temperature, top_p, seed, stop, extra.*
-- rejects: chat_id, parent_chat_id, hash_ids.user_input, messages, text_input, payload
-- quantum: 1ms
-- ordered: yes
-- clock: relative
-- block: 512 tokens, the last block of a prompt may be shorter; an id is the same block anywhere in the trace
-- tested on: real rows
-- units: timestamp in milliseconds from the start
-- units: delay in milliseconds since the end of the session's previous reply
-- notes: Where a later row of a session does not begin with the blocks of a row before it, as in sets
-- notes: that are published for AIPerf, a row holds what is new in its turn. The conversation trace arrives in one batch about every 3 seconds. Qwen-Bailian files have
-- notes: the same four keys with seconds and blocks of 16 tokens; their chat_id tells them apart.
SELECT
  CAST(CAST("timestamp" AS DECIMAL(30, 6)) * 1000000 AS BIGINT) AS arrival_ns,
  CAST("input_length" AS BIGINT) AS input_tokens,
  CAST("output_length" AS BIGINT) AS output_tokens,
  "session_id" AS session_id,
  CAST(CAST("delay" AS DECIMAL(30, 6)) * 1000000 AS BIGINT) AS think_ns,
  "hash_ids" AS prefix_blocks,
  512 AS block_size,
  'trace' AS block_scope
FROM source
