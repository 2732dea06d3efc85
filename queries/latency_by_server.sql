-- name: latency_by_server
-- purpose: requests, latency and output by the server that they went to
-- input: requests, tape_requests, latency_scope, token_arrivals, windows, runs
-- columns (unit): run, target, requests (requests), requests_share (share), ok (requests), attempts (attempts), failed_attempts (attempts), n (requests), ttft_p50_ns (ns), ttft_p99_ns (ns), tpot_n (requests), tpot_p50_ns (ns), tpot_p99_ns (ns), e2el_p50_ns (ns), output_tokens (tokens), output_tps (tokens/s)
-- notes: of runs whose measured requests went to two servers or more; a request counts for the server of its last attempt, an attempt for its own
--   requests_share is of the requests of the run that went to any server
--   failed attempts are error and timeout, also those that were followed by another one
--   latencies are from the send, of the n requests in latency_scope
--   output tokens are those that arrive in the steady window, or in the whole run where that has no length, as in throughput_windows
WITH tried AS (
  SELECT run, request_id, attempt, CAST(target AS VARCHAR) AS target, CAST(status AS VARCHAR) AS status
  FROM tape_requests
  WHERE phase = 'measure' AND target IS NOT NULL
),
several AS (
  SELECT run FROM tried GROUP BY run HAVING count(DISTINCT target) > 1
),
attempted AS (
  SELECT
    t.run, t.target,
    count(*) AS attempts,
    count(*) FILTER (WHERE t.status IN ('error', 'timeout')) AS failed_attempts,
    min(t.request_id) AS first_id
  FROM tried t
  LEFT SEMI JOIN several s ON s.run = t.run
  GROUP BY t.run, t.target
),
placed AS (
  SELECT
    q.run, CAST(q.target AS VARCHAR) AS target, q.request_id, q.attempt, q.status = 'ok' AS is_ok,
    k.request_id IS NOT NULL AS is_covered,
    CASE WHEN k.request_id IS NOT NULL THEN CAST(q.ttft_ns AS DOUBLE) END AS ttft_ns,
    CASE WHEN k.request_id IS NOT NULL THEN q.tpot_ns END AS tpot_ns,
    CASE WHEN k.request_id IS NOT NULL THEN CAST(q.e2el_ns AS DOUBLE) END AS e2el_ns
  FROM requests q
  LEFT SEMI JOIN several s ON s.run = q.run
  LEFT JOIN latency_scope k ON k.run = q.run AND k.request_id = q.request_id AND k.attempt = q.attempt
  WHERE q.target IS NOT NULL
),
statistics AS (
  SELECT
    run, target,
    count(*) AS requests,
    count(*) FILTER (WHERE is_ok) AS ok,
    count(*) FILTER (WHERE is_covered) AS n,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY ttft_ns) AS ttft_p50_ns,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY ttft_ns) AS ttft_p99_ns,
    count(tpot_ns) AS tpot_n,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY tpot_ns) AS tpot_p50_ns,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY tpot_ns) AS tpot_p99_ns,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY e2el_ns) AS e2el_p50_ns
  FROM placed
  GROUP BY run, target
),
rated AS (
  SELECT run, from_ns, to_ns, seconds, row_number() OVER (PARTITION BY run ORDER BY window_name DESC) AS place
  FROM windows
  WHERE seconds IS NOT NULL
),
streamed AS (
  SELECT p.run, p.target, sum(t.tokens) AS output_tokens
  FROM placed p
  JOIN rated w ON w.run = p.run AND w.place = 1
  JOIN token_arrivals t ON t.run = p.run AND t.request_id = p.request_id AND t.attempt = p.attempt
  WHERE t.arrival_ns >= w.from_ns AND t.arrival_ns <= w.to_ns
  GROUP BY p.run, p.target
)
SELECT
  a.run, a.target,
  coalesce(s.requests, 0) AS requests,
  CAST(coalesce(s.requests, 0) AS DOUBLE) / nullif(sum(s.requests) OVER (PARTITION BY a.run), 0) AS requests_share,
  coalesce(s.ok, 0) AS ok,
  a.attempts,
  a.failed_attempts,
  coalesce(s.n, 0) AS n,
  s.ttft_p50_ns, s.ttft_p99_ns,
  coalesce(s.tpot_n, 0) AS tpot_n,
  s.tpot_p50_ns, s.tpot_p99_ns, s.e2el_p50_ns,
  CASE WHEN w.seconds IS NOT NULL THEN coalesce(t.output_tokens, 0) END AS output_tokens,
  coalesce(t.output_tokens, 0) / w.seconds AS output_tps
FROM attempted a
JOIN runs r ON r.run = a.run
LEFT JOIN statistics s ON s.run = a.run AND s.target = a.target
LEFT JOIN rated w ON w.run = a.run AND w.place = 1
LEFT JOIN streamed t ON t.run = a.run AND t.target = a.target
ORDER BY r.run_index, a.first_id, a.target
