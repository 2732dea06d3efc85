-- name: latency_percentiles
-- purpose: every latency of the requests that were ok, with exact percentiles
-- input: request_latencies, gap_bins, latency_points, metrics, runs
-- columns (unit): run, metric, n (values), mean_ns (ns), std_ns (ns), min_ns (ns), p50_ns (ns), p90_ns (ns), p95_ns (ns), p99_ns (ns), p999_ns (ns), max_ns (ns)
-- notes: what each latency is stands in latencies and request_latencies; percentiles are exact, with linear interpolation between neighbours (latency_points)
--   the standard deviation is that of the population
WITH means AS (
  SELECT run, metric, sum(n) AS n, sum(sum_ns) / sum(n) AS mean_ns, min(low_ns) AS min_ns, max(high_ns) AS max_ns
  FROM gap_bins
  GROUP BY run, metric
),
edges AS (
  SELECT run, metric, n, sum_ns, squares, greatest(bin, 0) * 1000.0 AS edge_ns FROM gap_bins
),
statistics AS (
  SELECT
    m.run, m.metric, m.n, m.mean_ns,
    sqrt(sum(
      e.squares + 2 * (e.edge_ns - m.mean_ns) * (e.sum_ns - e.n * e.edge_ns) + e.n * power(e.edge_ns - m.mean_ns, 2)
    ) / m.n) AS std_ns,
    m.min_ns, m.max_ns
  FROM means m
  JOIN edges e ON e.run = m.run AND e.metric = m.metric
  GROUP BY m.run, m.metric, m.n, m.mean_ns, m.min_ns, m.max_ns
  UNION ALL
  SELECT
    run, metric, count(*) AS n, avg(value_ns) AS mean_ns, stddev_pop(value_ns) AS std_ns,
    min(value_ns) AS min_ns, max(value_ns) AS max_ns
  FROM request_latencies
  GROUP BY run, metric
),
points AS (
  SELECT
    run, metric,
    max(value_ns) FILTER (WHERE p = 0.5) AS p50_ns,
    max(value_ns) FILTER (WHERE p = 0.9) AS p90_ns,
    max(value_ns) FILTER (WHERE p = 0.95) AS p95_ns,
    max(value_ns) FILTER (WHERE p = 0.99) AS p99_ns,
    max(value_ns) FILTER (WHERE p = 0.999) AS p999_ns
  FROM latency_points
  GROUP BY run, metric
)
SELECT s.run, s.metric, s.n, s.mean_ns, s.std_ns, s.min_ns, q.* EXCEPT (run, metric), s.max_ns
FROM statistics s
JOIN points q ON q.run = s.run AND q.metric = s.metric
JOIN runs r ON r.run = s.run
JOIN metrics m ON m.name = s.metric
ORDER BY r.run_index, m.place
