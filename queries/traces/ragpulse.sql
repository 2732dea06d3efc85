-- name: ragpulse
-- purpose: RAGPulse: questions to a university's retrieval service, by session
-- requires: timestamp, input_length, output_length, session_id, hash_ids.user_input
-- rejects:
-- quantum: 1s
-- ordered: yes
-- clock: restarts
-- block: none
-- tested on: published schema
-- like: {"hash_ids": {"sys_prompt": [0], "passages_ids": [0], "history": [0], "web_search": [0], "user_input": [0]}}
-- units: timestamp in whole seconds of a week, written as text
-- notes: Two weeks stand one behind the other and each starts at 0: the clock goes on where it was.
-- notes: hash_ids name segments of unequal length, which stand in other files, so no prefix is
-- notes: shared; they are kept as extra_hash_ids.
SELECT
  CAST(CAST("timestamp" AS DECIMAL(30, 9)) * 1000000000 AS BIGINT) AS arrival_ns,
  CAST("input_length" AS BIGINT) AS input_tokens,
  CAST("output_length" AS BIGINT) AS output_tokens,
  "session_id" AS session_id,
  "hash_ids" AS extra_hash_ids
FROM source
