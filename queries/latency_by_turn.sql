-- name: latency_by_turn
-- purpose: first turns of a session against later ones
-- input: turn_latencies, runs
-- columns (unit): run, turns (first or later), n (requests), input_tokens_mean (tokens), cached_share (share), ideal_cached_share (share), ttft_p50_ns (ns), ttft_p90_ns (ns), ttft_p99_ns (ns), tpot_p50_ns (ns), e2el_p50_ns (ns), e2el_p99_ns (ns)
-- notes: of the requests in latency_scope that belong to a session; there are no rows without sessions
--   cached_share is what the server says it took from its prefix cache ÷ the input tokens, of those requests where it says both
--   ideal_cached_share is that of a cache without bound, as in turn_latencies
SELECT
  t.run, CASE WHEN t.turn > 0 THEN 'later' ELSE 'first' END AS turns, t.n, t.input_tokens_mean, t.cached_share, t.ideal_cached_share,
  t.ttft_p50_ns, t.ttft_p90_ns, t.ttft_p99_ns, t.tpot_p50_ns, t.e2el_p50_ns, t.e2el_p99_ns
FROM turn_latencies t
JOIN runs r ON r.run = t.run
WHERE t.last_turn = 1
ORDER BY r.run_index, t.turn
