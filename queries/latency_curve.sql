-- name: latency_curve
-- purpose: the whole distribution of every latency, as a curve from its minimum to its maximum
-- input: latencies, metrics, runs
-- columns (unit): run, metric, p (share), value_ns (ns), n (values)
-- notes: from a histogram with bins of 1 us, so that it holds for tens of millions of values: a bin of up to two values is exact, any other is within 1 us
--   exact percentiles are in latency_percentiles
WITH bins AS (
  SELECT run, metric, floor(value_ns / 1000) AS bin, count(*) AS n, min(value_ns) AS low, max(value_ns) AS high
  FROM latencies
  GROUP BY run, metric, floor(value_ns / 1000)
),
ranked AS (
  SELECT
    run, metric, n, low, high,
    sum(n) OVER upward - n AS first_rank,
    sum(n) OVER (PARTITION BY run, metric) AS total,
    lead(low) OVER upward AS next_low
  FROM bins
  WINDOW upward AS (PARTITION BY run, metric ORDER BY bin)
),
points AS (
  SELECT run, metric, n, low, high, first_rank, total, next_low, p, p * (total - 1) AS rank
  FROM ranked
  CROSS JOIN (VALUES
    (0.0), (0.1), (0.2), (0.3), (0.4), (0.5), (0.6), (0.7), (0.8), (0.9), (0.95), (0.98), (0.99),
    (0.995), (0.998), (0.999), (0.9995), (0.9998), (0.9999), (0.99999), (1.0)
  ) grid(p)
)
SELECT
  q.run,
  q.metric,
  q.p,
  CASE
    WHEN q.rank > q.first_rank + q.n - 1
    THEN q.high + (q.next_low - q.high) * (q.rank - (q.first_rank + q.n - 1))
    WHEN q.n = 1 THEN q.low
    ELSE q.low + (q.high - q.low) * (q.rank - q.first_rank) / (q.n - 1)
  END AS value_ns,
  q.total AS n
FROM points q
JOIN runs r ON r.run = q.run
JOIN metrics m ON m.name = q.metric
WHERE q.rank >= q.first_rank AND q.rank < q.first_rank + q.n
ORDER BY r.run_index, m.place, q.p
