-- name: latency_over_time
-- purpose: time to first token by when the request was sent, and time between tokens by when they arrived
-- input: time_bins, run_spans, latencies, runs
-- columns (unit): run, at_ns (ns), width_ns (ns), n (requests), ttft_p50_ns (ns), ttft_p99_ns (ns), ttft_max_ns (ns), itl_p50_ns (ns), itl_p99_ns (ns), itl_max_ns (ns)
-- notes: n is the number of ok requests that were sent in the bin; a bin without values has nulls
WITH placed AS (
  SELECT
    l.run, l.metric, l.value_ns,
    CAST(floor(l.at_ns / CAST(s.width_ns AS DOUBLE)) AS BIGINT) AS bin
  FROM latencies l
  JOIN run_spans s ON s.run = l.run
  WHERE l.metric IN ('ttft', 'itl')
),
statistics AS (
  SELECT
    run, bin, metric,
    count(*) AS n,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY value_ns) AS p50_ns,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY value_ns) AS p99_ns,
    max(value_ns) AS max_ns
  FROM placed
  GROUP BY run, bin, metric
),
paired AS (
  SELECT
    b.run, b.at_ns, b.width_ns,
    max(CASE WHEN s.metric = 'ttft' THEN s.n END) AS n,
    max(CASE WHEN s.metric = 'ttft' THEN s.p50_ns END) AS ttft_p50_ns,
    max(CASE WHEN s.metric = 'ttft' THEN s.p99_ns END) AS ttft_p99_ns,
    max(CASE WHEN s.metric = 'ttft' THEN s.max_ns END) AS ttft_max_ns,
    max(CASE WHEN s.metric = 'itl' THEN s.p50_ns END) AS itl_p50_ns,
    max(CASE WHEN s.metric = 'itl' THEN s.p99_ns END) AS itl_p99_ns,
    max(CASE WHEN s.metric = 'itl' THEN s.max_ns END) AS itl_max_ns
  FROM time_bins b
  LEFT JOIN statistics s ON s.run = b.run AND s.bin = b.bin
  GROUP BY b.run, b.at_ns, b.width_ns
)
SELECT
  p.run, p.at_ns, p.width_ns, coalesce(p.n, 0) AS n,
  p.ttft_p50_ns, p.ttft_p99_ns, p.ttft_max_ns, p.itl_p50_ns, p.itl_p99_ns, p.itl_max_ns
FROM paired p
JOIN runs r ON r.run = p.run
ORDER BY r.run_index, p.at_ns
