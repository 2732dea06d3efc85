-- name: copilot
-- purpose: GitHub Copilot coding agents 2026: one session a line, with turns and model calls
-- requires: session_id, turns.llm_calls
-- rejects:
-- quantum: 1ms
-- ordered: no
-- clock: absolute
-- block: 16 tokens, made from the cached tokens: a prompt begins with as much of the session's previous one
-- tested on: published schema
-- like: {"turns": [{"turn_id": "0", "llm_calls": [{"message_id": "m", "timestamp": "2026-06-01T00:00:00Z", "duration_ms": "0", "initiator_type": "user", "model": "m", "result": "r", "status_code": "200", "tokens": {"total": "0", "prompt": "0", "completion": "0", "cached": "0"}}]}]}
-- session prompts: whole
-- units: timestamp as date and time; duration_ms in milliseconds
-- notes: Every model call is a request, and the calls of a session follow each other. The class is
-- notes: who began it: user or agent. A call without completion tokens is marked as failed.
WITH turns AS (
  SELECT "session_id", unnest("turns") AS turn
  FROM source
),
calls AS (
  SELECT "session_id", unnest(turn['llm_calls']) AS call
  FROM turns
)
SELECT
  CAST(CAST(call['timestamp'] AS TIMESTAMP) AS BIGINT) AS arrival_ns,
  CAST(call['tokens']['prompt'] AS BIGINT) AS input_tokens,
  CAST(call['tokens']['completion'] AS BIGINT) AS output_tokens,
  "session_id" AS session_id,
  CAST(CAST(call['duration_ms'] AS DECIMAL(30, 6)) * 1000000 AS BIGINT) AS elapsed_ns,
  coalesce(CAST(call['tokens']['cached'] AS BIGINT), 0) AS prefix_tokens,
  call['model'] AS model,
  call['initiator_type'] AS class,
  coalesce(CAST(call['tokens']['completion'] AS BIGINT), 0) = 0 AS failed,
  call['message_id'] AS extra_message_id,
  call['result'] AS extra_result
FROM calls
