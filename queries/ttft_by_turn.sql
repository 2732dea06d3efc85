-- name: ttft_by_turn
-- purpose: time to first token, prompt length and cache hits, turn by turn
-- input: turn_latencies, runs
-- columns (unit): run, turn, n (requests), input_tokens_mean (tokens), cached_share (share), ideal_cached_share (share), ttft_p50_ns (ns), ttft_p90_ns (ns), ttft_p99_ns (ns)
-- notes: of the requests in latency_scope that belong to a session; turn counts from 0, as in requests; there are no rows without sessions
--   the last row gathers every turn from 63 on
--   cached_share and ideal_cached_share as in latency_by_turn
SELECT t.run, t.turn, t.n, t.input_tokens_mean, t.cached_share, t.ideal_cached_share, t.ttft_p50_ns, t.ttft_p90_ns, t.ttft_p99_ns
FROM turn_latencies t
JOIN runs r ON r.run = t.run
WHERE t.last_turn = 63
ORDER BY r.run_index, t.turn
