-- name: server_latencies
-- purpose: latencies as the server has them in its own histograms, beside those of the client
-- input: server_growth, latency_percentiles, runs
-- columns (unit): run, server, metric, n (values of the server), mean_ns (ns), client_n (values of the client), client_mean_ns (ns), difference_ns (ns)
-- notes: of the server, the sum of each histogram by its count, of what they grew by from the first scrape to the last: warm-ups and requests that failed are among them, and requests of others
--   of the client, the ok measured requests, from the send, as in latency_percentiles; null for what a client can't see: queue, prefill and decode
--   what the client has more is the way there and back, HTTP on both sides, and what the server does before and after it counts
-- defines: difference_ns (ns): mean of the client − mean of the server
WITH means AS (
  SELECT
    run, server, place, quantity AS metric,
    sum(growth) FILTER (WHERE kind = 'count') AS n,
    sum(growth) FILTER (WHERE kind = 'sum') AS seconds
  FROM server_growth
  WHERE kind IN ('sum', 'count')
  GROUP BY run, server, place, quantity
)
SELECT
  m.run, m.server, m.metric,
  CAST(m.n AS BIGINT) AS n,
  m.seconds * 1e9 / m.n AS mean_ns,
  l.n AS client_n,
  l.mean_ns AS client_mean_ns,
  l.mean_ns - m.seconds * 1e9 / m.n AS difference_ns
FROM means m
JOIN runs r ON r.run = m.run
LEFT JOIN latency_percentiles l ON l.run = m.run AND l.metric = m.metric
WHERE m.n > 0 AND m.seconds IS NOT NULL
ORDER BY
  r.run_index, m.place, m.server,
  CASE m.metric
    WHEN 'ttft' THEN 1 WHEN 'tpot' THEN 2 WHEN 'itl' THEN 3 WHEN 'e2el' THEN 4
    WHEN 'queue' THEN 5 WHEN 'prefill' THEN 6 ELSE 7
  END
