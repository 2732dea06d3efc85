-- name: latency_by_turn
-- purpose: first turns of a session against later ones
-- input: requests, covered, runs
-- columns (unit): run, turns (first or later), n (requests), input_tokens_mean (tokens), cached_share (share), ttft_p50_ns (ns), ttft_p90_ns (ns), ttft_p99_ns (ns), tpot_p50_ns (ns), e2el_p50_ns (ns), e2el_p99_ns (ns)
-- notes: of the covered requests that belong to a session; there are no rows without sessions
--   cached_share is what the server says it took from its prefix cache ÷ the input tokens, of those requests where it says both
WITH placed AS (
  SELECT
    q.run,
    CASE WHEN q.turn > 0 THEN 'later' ELSE 'first' END AS turns,
    q.input_tokens, q.usage_input_tokens, q.usage_cached_tokens, q.ttft_ns, q.tpot_ns, q.e2el_ns
  FROM requests q
  LEFT SEMI JOIN covered k ON k.run = q.run AND k.request_id = q.request_id AND k.attempt = q.attempt
  WHERE q.session_id IS NOT NULL AND q.turn IS NOT NULL
),
statistics AS (
  SELECT
    run, turns,
    count(*) AS n,
    avg(CAST(input_tokens AS DOUBLE)) AS input_tokens_mean,
    CAST(sum(CAST(usage_cached_tokens AS BIGINT)) FILTER (WHERE usage_input_tokens IS NOT NULL) AS DOUBLE)
      / nullif(sum(CAST(usage_input_tokens AS BIGINT)) FILTER (WHERE usage_cached_tokens IS NOT NULL), 0) AS cached_share,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY CAST(ttft_ns AS DOUBLE)) AS ttft_p50_ns,
    percentile_cont(0.9) WITHIN GROUP (ORDER BY CAST(ttft_ns AS DOUBLE)) AS ttft_p90_ns,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY CAST(ttft_ns AS DOUBLE)) AS ttft_p99_ns,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY tpot_ns) AS tpot_p50_ns,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY CAST(e2el_ns AS DOUBLE)) AS e2el_p50_ns,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY CAST(e2el_ns AS DOUBLE)) AS e2el_p99_ns
  FROM placed
  GROUP BY run, turns
)
SELECT
  s.run, s.turns, s.n, s.input_tokens_mean, s.cached_share,
  s.ttft_p50_ns, s.ttft_p90_ns, s.ttft_p99_ns, s.tpot_p50_ns, s.e2el_p50_ns, s.e2el_p99_ns
FROM statistics s
JOIN runs r ON r.run = s.run
ORDER BY r.run_index, s.turns
