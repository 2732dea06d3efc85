-- name: ttft_by_turn
-- purpose: time to first token, prompt length and cache hits, turn by turn
-- input: requests, covered, runs
-- columns (unit): run, turn, n (requests), input_tokens_mean (tokens), cached_share (share), ttft_p50_ns (ns), ttft_p90_ns (ns), ttft_p99_ns (ns)
-- notes: of the covered requests that belong to a session; turn counts from 0, as in requests; there are no rows without sessions
--   the last row gathers every turn from 63 on
--   cached_share as in latency_by_turn
WITH placed AS (
  SELECT
    q.run, least(CAST(q.turn AS BIGINT), 63) AS turn,
    q.input_tokens, q.usage_input_tokens, q.usage_cached_tokens, q.ttft_ns
  FROM requests q
  LEFT SEMI JOIN covered k ON k.run = q.run AND k.request_id = q.request_id AND k.attempt = q.attempt
  WHERE q.session_id IS NOT NULL AND q.turn IS NOT NULL
),
statistics AS (
  SELECT
    run, turn,
    count(*) AS n,
    avg(CAST(input_tokens AS DOUBLE)) AS input_tokens_mean,
    CAST(sum(CAST(usage_cached_tokens AS BIGINT)) FILTER (WHERE usage_input_tokens IS NOT NULL) AS DOUBLE)
      / nullif(sum(CAST(usage_input_tokens AS BIGINT)) FILTER (WHERE usage_cached_tokens IS NOT NULL), 0) AS cached_share,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY CAST(ttft_ns AS DOUBLE)) AS ttft_p50_ns,
    percentile_cont(0.9) WITHIN GROUP (ORDER BY CAST(ttft_ns AS DOUBLE)) AS ttft_p90_ns,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY CAST(ttft_ns AS DOUBLE)) AS ttft_p99_ns
  FROM placed
  GROUP BY run, turn
)
SELECT
  s.run, s.turn, s.n, s.input_tokens_mean, s.cached_share, s.ttft_p50_ns, s.ttft_p90_ns, s.ttft_p99_ns
FROM statistics s
JOIN runs r ON r.run = s.run
ORDER BY r.run_index, s.turn
