-- name: latency_percentiles
-- purpose: every latency of the requests that were ok, with exact percentiles
-- input: latencies, metrics, runs
-- columns (unit): run, metric, n (values), mean_ns (ns), std_ns (ns), min_ns (ns), p50_ns (ns), p90_ns (ns), p95_ns (ns), p99_ns (ns), p999_ns (ns), max_ns (ns)
-- notes: percentiles are exact, with linear interpolation between neighbours, whose weight the engine cuts to a millionth
--   the standard deviation is that of the population
WITH statistics AS (
  SELECT
    run,
    metric,
    count(*) AS n,
    avg(value_ns) AS mean_ns,
    stddev_pop(value_ns) AS std_ns,
    min(value_ns) AS min_ns,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY value_ns) AS p50_ns,
    percentile_cont(0.9) WITHIN GROUP (ORDER BY value_ns) AS p90_ns,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY value_ns) AS p95_ns,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY value_ns) AS p99_ns,
    percentile_cont(0.999) WITHIN GROUP (ORDER BY value_ns) AS p999_ns,
    max(value_ns) AS max_ns
  FROM latencies
  GROUP BY run, metric
)
SELECT s.*
FROM statistics s
JOIN runs r ON r.run = s.run
JOIN metrics m ON m.name = s.metric
ORDER BY r.run_index, m.place
