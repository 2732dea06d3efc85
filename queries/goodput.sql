-- name: goodput
-- purpose: how many requests and tokens a second met every goal, and how often each goal was met
-- input: windows, slo_results, goals, runs
-- columns (unit): run, window_name (steady or run), offered (requests), good (requests), attainment (share), goodput_rps (requests/s), ttft_met (share), tpot_met (share), e2el_met (share), tpot_n (requests), ok (requests), offered_rps (requests/s), ok_rps (requests/s), good_tokens (tokens), goodput_tps (tokens/s), token_attainment (share)
-- notes: offered is every measured request that was due in the window (in `run`: every one), whatever became of it, but for those that the client hung up on; one that is not ok meets no goal
--   good, ok and offered are of the same requests, so that goodput_rps ≤ ok_rps ≤ offered_rps; rps of throughput_windows counts other ones, those that ended in the window
--   goals on ttft and e2el count from slo_results.goals_from_ns, the intended time or the send time
--   a request too short to have a tpot passes that goal; tpot_n is how many had one
--   good_tokens are the output tokens of good requests, whenever they arrived; token_attainment is those ÷ the output tokens of all that was offered, where a request that is not ok counts with what was planned for it, or with what it streamed if that is more
--   there are no rows where no goal was set
-- defines: goodput_rps (requests/s): offered requests that are ok and meet every goal, ÷ the window's length
--   goodput_tps (tokens/s): the output tokens of those requests, ÷ the window's length
--   attainment (share): those requests ÷ all that were offered
--   token_attainment (share): their output tokens ÷ those of all that were offered
WITH counted AS (
  SELECT
    w.run, w.window_name,
    count(*) AS offered,
    count(*) FILTER (WHERE j.is_ok) AS ok,
    count(*) FILTER (WHERE j.is_good) AS good,
    sum(j.output_tokens) FILTER (WHERE j.is_good) AS good_tokens,
    sum(j.owed_tokens) AS owed_tokens,
    count(*) FILTER (WHERE j.meets_ttft) AS ttft_met,
    count(*) FILTER (WHERE j.meets_tpot) AS tpot_met,
    count(*) FILTER (WHERE j.meets_e2el) AS e2el_met,
    count(j.tpot_ns) FILTER (WHERE j.is_ok) AS tpot_n
  FROM windows w
  JOIN slo_results j ON j.run = w.run
  WHERE j.is_judged AND (w.window_name = 'run' OR j.intended_ns BETWEEN w.from_ns AND w.to_ns)
  GROUP BY w.run, w.window_name
)
SELECT
  w.run,
  w.window_name,
  coalesce(c.offered, 0) AS offered,
  coalesce(c.good, 0) AS good,
  CAST(c.good AS DOUBLE) / c.offered AS attainment,
  coalesce(c.good, 0) / w.seconds AS goodput_rps,
  CASE WHEN g.ttft_ns IS NOT NULL THEN CAST(c.ttft_met AS DOUBLE) / c.offered END AS ttft_met,
  CASE WHEN g.tpot_ns IS NOT NULL THEN CAST(c.tpot_met AS DOUBLE) / c.offered END AS tpot_met,
  CASE WHEN g.e2el_ns IS NOT NULL THEN CAST(c.e2el_met AS DOUBLE) / c.offered END AS e2el_met,
  coalesce(c.tpot_n, 0) AS tpot_n,
  coalesce(c.ok, 0) AS ok,
  coalesce(c.offered, 0) / w.seconds AS offered_rps,
  coalesce(c.ok, 0) / w.seconds AS ok_rps,
  coalesce(c.good_tokens, 0) AS good_tokens,
  coalesce(c.good_tokens, 0) / w.seconds AS goodput_tps,
  coalesce(c.good_tokens, 0) / CAST(nullif(c.owed_tokens, 0) AS DOUBLE) AS token_attainment
FROM windows w
JOIN runs r ON r.run = w.run
CROSS JOIN goals g
LEFT JOIN counted c ON c.run = w.run AND c.window_name = w.window_name
WHERE coalesce(g.ttft_ns, g.tpot_ns, g.e2el_ns) IS NOT NULL
ORDER BY r.run_index, w.window_name DESC
