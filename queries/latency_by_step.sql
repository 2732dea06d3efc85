-- name: latency_by_step
-- purpose: every latency in each step of a tape, and in its warm-up
-- input: attempts, measured, latency_scope, tape_requests, tokens, steps, metrics, runs
-- columns (unit): run, phase (warmup or measure), step, labels (JSON), metric, n (values), mean_ns (ns), p50_ns (ns), p90_ns (ns), p99_ns (ns), max_ns (ns)
-- notes: a request belongs to the step that it was sent for; requests in latency_scope alone, and in a row of their own the warm-up requests that were ok, which no other query counts
--   metrics are those of latency_percentiles; percentiles are exact, with linear interpolation
--   there are no rows for a tape without steps and warm-up requests
WITH members AS (
  SELECT m.run, m.request_id, m.attempt, 'measure' AS phase, s.step, s.labels
  FROM measured m
  JOIN steps s ON s.run = m.run AND s.step = m.step
  LEFT SEMI JOIN latency_scope k ON k.run = m.run AND k.request_id = m.request_id AND k.attempt = m.attempt
  UNION ALL
  SELECT
    run, request_id, attempt, 'warmup' AS phase, CAST(NULL AS BIGINT) AS step, CAST(NULL AS VARCHAR) AS labels
  FROM tape_requests
  WHERE phase = 'warmup' AND status = 'ok'
),
samples AS (
  SELECT
    m.run, m.phase, m.step, m.labels,
    unnest(make_array('ttft', 'ttft_intended', 'ttfa', 'tpot', 'e2el', 'e2el_intended')) AS metric,
    unnest(make_array(
      CAST(a.ttft_ns AS DOUBLE), CAST(a.ttft_intended_ns AS DOUBLE), CAST(a.ttfa_ns AS DOUBLE), a.tpot_ns,
      CAST(a.e2el_ns AS DOUBLE), CAST(a.e2el_intended_ns AS DOUBLE)
    )) AS value_ns
  FROM members m
  JOIN attempts a ON a.run = m.run AND a.request_id = m.request_id AND a.attempt = m.attempt
  UNION ALL
  SELECT m.run, m.phase, m.step, m.labels, 'itl' AS metric, CAST(t.itl_ns AS DOUBLE) AS value_ns
  FROM members m
  JOIN tokens t ON t.run = m.run AND t.request_id = m.request_id AND t.attempt = m.attempt
),
statistics AS (
  SELECT
    run, phase, step, labels, metric,
    count(*) AS n,
    avg(value_ns) AS mean_ns,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY value_ns) AS p50_ns,
    percentile_cont(0.9) WITHIN GROUP (ORDER BY value_ns) AS p90_ns,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY value_ns) AS p99_ns,
    max(value_ns) AS max_ns
  FROM samples
  WHERE value_ns IS NOT NULL
  GROUP BY run, phase, step, labels, metric
)
SELECT
  s.run, s.phase, s.step, s.labels, s.metric, s.n, s.mean_ns, s.p50_ns, s.p90_ns, s.p99_ns, s.max_ns
FROM statistics s
JOIN runs r ON r.run = s.run
JOIN metrics m ON m.name = s.metric
ORDER BY r.run_index, s.phase DESC, s.step, m.place
