-- name: bailian
-- purpose: Qwen-Bailian: Alibaba Cloud's chats and API calls, with parents and shared prefix blocks
-- requires: chat_id, parent_chat_id, timestamp, input_length, output_length, hash_ids
-- optional: type, turn
-- rejects:
-- quantum: 1ms
-- ordered: yes
-- clock: relative
-- block: 16 tokens, the last block of a prompt may be shorter; an id is the same block anywhere in the trace
-- tested on: real rows
-- session prompts: whole
-- units: timestamp in seconds from the start, with fractions
-- units: turn from 1
-- notes: A chat belongs to the session of the one that parent_chat_id names; -1 begins a session,
-- notes: which is called by its first chat_id. The keys are those of Mooncake, in other units.
SELECT
  CAST(CAST("timestamp" AS DECIMAL(30, 9)) * 1000000000 AS BIGINT) AS arrival_ns,
  CAST("input_length" AS BIGINT) AS input_tokens,
  CAST("output_length" AS BIGINT) AS output_tokens,
  "chat_id" AS id,
  NULLIF("parent_chat_id", '-1') AS parent_id,
  CAST("turn" AS BIGINT) - 1 AS turn,
  "hash_ids" AS prefix_blocks,
  16 AS block_size,
  'trace' AS block_scope,
  "type" AS class
FROM source
