-- name: latency_places
-- purpose: where among its sorted values each percentile of each latency lies
-- input: request_latencies, gap_bins, percentiles
-- columns (unit): run, metric, n (values), p (share), place (from 0, between two values), below (place of the value below), above (place of the value above)
-- notes: place is p × (n − 1), as linear interpolation has it
WITH sizes AS (
  SELECT run, metric, sum(n) AS n FROM gap_bins GROUP BY run, metric
  UNION ALL
  SELECT run, metric, count(*) AS n FROM request_latencies GROUP BY run, metric
)
SELECT
  s.run, s.metric, s.n, p.p, p.p * (s.n - 1) AS place,
  CAST(floor(p.p * (s.n - 1)) AS BIGINT) AS below,
  CAST(ceil(p.p * (s.n - 1)) AS BIGINT) AS above
FROM sizes s
CROSS JOIN percentiles p
