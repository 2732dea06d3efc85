-- name: tracelab-replay
-- purpose: TraceLab: workloads of its session runner, as CSV
-- requires: round_idx, prefix_len, input_len, output_len, tool_wait_after_ms
-- requires one of: session_id, id
-- optional: session_id, id, arrival_time
-- rejects:
-- quantum: 1ms
-- ordered: no
-- clock: absolute
-- block: 16 tokens, made from prefix_len: a prompt begins with as much of the session's previous one
-- session prompts: whole
-- tested on: real rows
-- units: arrival_time in milliseconds from the start, of the session
-- units: tool_wait_after_ms in milliseconds from the end of a reply to the next round
-- notes: input_len is what a round adds; its prompt is prefix_len and input_len. The rounds of a session
-- notes: stand one behind the other. They have no times of their own: without `--sessions think` a round is
-- notes: due its wait after the one before it, whatever the reply takes.
WITH rounds AS (
  SELECT *, coalesce("session_id", "id") AS session
  FROM source
),
waits AS (
  SELECT
    *,
    lag(session) OVER () AS session_before,
    lag("tool_wait_after_ms") OVER () AS wait_before
  FROM rounds
)
SELECT
  CASE
    WHEN CAST("round_idx" AS BIGINT) = 0 OR session_before IS NULL OR session_before <> session
    THEN CAST(CAST(coalesce("arrival_time", '0') AS DECIMAL(30, 6)) * 1000000 AS BIGINT)
  END AS arrival_ns,
  CAST("prefix_len" AS BIGINT) + CAST("input_len" AS BIGINT) AS input_tokens,
  CAST("output_len" AS BIGINT) AS output_tokens,
  session AS session_id,
  CASE
    WHEN CAST("round_idx" AS BIGINT) > 0 AND session_before = session
    THEN CAST(CAST(wait_before AS DECIMAL(30, 6)) * 1000000 AS BIGINT)
  END AS think_ns,
  CAST("prefix_len" AS BIGINT) AS prefix_tokens
FROM waits
