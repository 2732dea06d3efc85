-- name: latency_by_length
-- purpose: latency by how long prompts and answers were
-- input: requests, latency_scope, runs
-- columns (unit): run, side (input or output), from_tokens (tokens), to_tokens (tokens), n (requests), ttft_p50_ns (ns), ttft_p99_ns (ns), tpot_p50_ns (ns), tpot_p99_ns (ns), e2el_p50_ns (ns), e2el_p99_ns (ns)
-- notes: one row a power of two that holds a request: from_tokens belongs to it, to_tokens does not; of requests in latency_scope whose length is known
--   lengths are input_tokens and output_tokens of `requests`, latencies are from the send
WITH lengths AS (
  SELECT
    q.run, q.ttft_ns, q.tpot_ns, q.e2el_ns,
    unnest(make_array('input', 'output')) AS side,
    unnest(make_array(q.input_tokens, q.output_tokens)) AS tokens
  FROM requests q
  LEFT SEMI JOIN latency_scope k ON k.run = q.run AND k.request_id = q.request_id AND k.attempt = q.attempt
),
placed AS (
  SELECT
    run, side, ttft_ns, tpot_ns, e2el_ns,
    CASE WHEN tokens < 1 THEN 0 ELSE CAST(power(2.0, floor(log2(CAST(tokens AS DOUBLE)))) AS BIGINT) END AS from_tokens
  FROM lengths
  WHERE tokens IS NOT NULL
),
statistics AS (
  SELECT
    run, side, from_tokens,
    count(*) AS n,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY CAST(ttft_ns AS DOUBLE)) AS ttft_p50_ns,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY CAST(ttft_ns AS DOUBLE)) AS ttft_p99_ns,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY tpot_ns) AS tpot_p50_ns,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY tpot_ns) AS tpot_p99_ns,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY CAST(e2el_ns AS DOUBLE)) AS e2el_p50_ns,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY CAST(e2el_ns AS DOUBLE)) AS e2el_p99_ns
  FROM placed
  GROUP BY run, side, from_tokens
)
SELECT
  s.run, s.side, s.from_tokens, greatest(2 * s.from_tokens, 1) AS to_tokens, s.n,
  s.ttft_p50_ns, s.ttft_p99_ns, s.tpot_p50_ns, s.tpot_p99_ns, s.e2el_p50_ns, s.e2el_p99_ns
FROM statistics s
JOIN runs r ON r.run = s.run
ORDER BY r.run_index, s.side, s.from_tokens
