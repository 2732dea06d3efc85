-- name: turn_latencies
-- purpose: latency, prompt length and cache hits by turn, twice: the first turn against all others, and turn by turn
-- input: requests, latency_scope, shared_tokens
-- columns (unit): run, last_turn (1 or 63), turn, n (requests), input_tokens_mean (tokens), cached_share (share), ideal_cached_share (share), ttft_p50_ns (ns), ttft_p90_ns (ns), ttft_p99_ns (ns), tpot_p50_ns (ns), e2el_p50_ns (ns), e2el_p99_ns (ns)
-- notes: of the requests in latency_scope that belong to a session; turn counts from 0, as in requests, and last_turn gathers every turn from it on; there are no rows without sessions
--   cached_share is what the server says it took from its prefix cache ÷ the input tokens, of those requests where it says both
--   ideal_cached_share is the same of a cache without bound, by shared_tokens
WITH placed AS (
  SELECT
    q.run, l.last_turn, least(CAST(q.turn AS BIGINT), l.last_turn) AS turn,
    q.input_tokens,
    CASE WHEN s.shared_tokens > q.input_tokens THEN CAST(q.input_tokens AS BIGINT) ELSE s.shared_tokens END AS shared_tokens,
    q.usage_input_tokens, q.usage_cached_tokens, q.ttft_ns, q.tpot_ns, q.e2el_ns
  FROM requests q
  JOIN shared_tokens s ON s.run = q.run AND s.request_id = q.request_id AND s.attempt = q.attempt
  LEFT SEMI JOIN latency_scope k ON k.run = q.run AND k.request_id = q.request_id AND k.attempt = q.attempt
  CROSS JOIN (VALUES (1), (63)) l(last_turn)
  WHERE q.session_id IS NOT NULL AND q.turn IS NOT NULL
)
SELECT
  run, last_turn, turn,
  count(*) AS n,
  avg(CAST(input_tokens AS DOUBLE)) AS input_tokens_mean,
  CAST(sum(CAST(usage_cached_tokens AS BIGINT)) FILTER (WHERE usage_input_tokens IS NOT NULL) AS DOUBLE)
    / nullif(sum(CAST(usage_input_tokens AS BIGINT)) FILTER (WHERE usage_cached_tokens IS NOT NULL), 0) AS cached_share,
  CAST(sum(shared_tokens) AS DOUBLE)
    / nullif(sum(CAST(input_tokens AS BIGINT)) FILTER (WHERE shared_tokens IS NOT NULL), 0) AS ideal_cached_share,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY CAST(ttft_ns AS DOUBLE)) AS ttft_p50_ns,
  percentile_cont(0.9) WITHIN GROUP (ORDER BY CAST(ttft_ns AS DOUBLE)) AS ttft_p90_ns,
  percentile_cont(0.99) WITHIN GROUP (ORDER BY CAST(ttft_ns AS DOUBLE)) AS ttft_p99_ns,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY tpot_ns) AS tpot_p50_ns,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY CAST(e2el_ns AS DOUBLE)) AS e2el_p50_ns,
  percentile_cont(0.99) WITHIN GROUP (ORDER BY CAST(e2el_ns AS DOUBLE)) AS e2el_p99_ns
FROM placed
GROUP BY run, last_turn, turn
