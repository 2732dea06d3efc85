-- name: session_fidelity
-- purpose: whether sessions stayed together, and their turns in order
-- input: requests, runs
-- columns (unit): run, sessions (sessions), turns (requests), out_of_order (requests), before_reply (requests), pause_p50_ns (ns), pause_p90_ns (ns)
-- notes: of the measured requests that were sent and belong to a session; turns are those that follow another one
--   out_of_order were sent before the turn that they follow; before_reply were sent before its reply had ended, as at trace time they may be
--   a pause is the time from the end of a reply to the next turn's due time, where that is later
WITH sent AS (
  SELECT
    run,
    session_id,
    intended_ns,
    sent_ns,
    lag(sent_ns) OVER (PARTITION BY run, session_id ORDER BY turn, request_id) AS previous_sent_ns,
    lag(coalesce(end_ns, sent_ns)) OVER (PARTITION BY run, session_id ORDER BY turn, request_id) AS previous_end_ns
  FROM requests
  WHERE session_id IS NOT NULL AND sent_ns IS NOT NULL
),
counts AS (
  SELECT
    run,
    count(DISTINCT session_id) AS sessions,
    count(previous_sent_ns) AS turns,
    count(*) FILTER (WHERE sent_ns < previous_sent_ns) AS out_of_order,
    count(*) FILTER (WHERE sent_ns < previous_end_ns) AS before_reply,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY CASE WHEN intended_ns >= previous_end_ns THEN intended_ns - previous_end_ns END) AS pause_p50_ns,
    percentile_cont(0.9) WITHIN GROUP (ORDER BY CASE WHEN intended_ns >= previous_end_ns THEN intended_ns - previous_end_ns END) AS pause_p90_ns
  FROM sent
  GROUP BY run
)
SELECT c.*
FROM counts c
JOIN runs r ON r.run = c.run
ORDER BY r.run_index
