-- name: latency_points
-- purpose: points of the distribution of every latency of the requests in latency_scope
-- input: latency_places, request_latencies, gap_bins, token_chunks
-- columns (unit): run, metric, n (values), p (share), value_ns (ns)
-- notes: exact, with linear interpolation between the two values next to p × (n − 1), as numpy has it
--   of the times between tokens, gap_bins says in which bins these two lie, and only what is in these bins is sorted
WITH ranks AS (
  SELECT run, metric, below AS rank FROM latency_places
  UNION
  SELECT run, metric, above AS rank FROM latency_places
),
ranked AS (
  SELECT
    run, metric, bin, n, low_ns, high_ns,
    sum(n) OVER (PARTITION BY run, metric ORDER BY bin) - n AS first_rank
  FROM gap_bins
),
found AS (
  SELECT k.run, k.metric, k.rank, b.bin, b.n, b.low_ns, b.high_ns, k.rank - b.first_rank AS place
  FROM ranks k
  JOIN ranked b ON b.run = k.run AND b.metric = k.metric AND k.rank >= b.first_rank AND k.rank < b.first_rank + b.n
),
wanted AS (
  SELECT DISTINCT run, metric, bin
  FROM found
  WHERE place BETWEEN 1 AND n - 2 AND low_ns < high_ns
),
looked AS (
  SELECT w.run, w.metric, w.bin, CAST(t.gap_ns AS DOUBLE) AS value_ns
  FROM wanted w
  JOIN (
    SELECT run, gap_ns, gap_ns / 1000 AS bin, tokens, is_resolved
    FROM token_chunks
    WHERE is_in_scope AND gap_ns > 0
  ) t ON t.run = w.run AND t.bin = w.bin
  WHERE w.metric IN ('itl', 'icl')
    OR (w.metric = 'itl_resolved' AND t.is_resolved)
    OR (w.metric = 'itl_spread' AND t.tokens = 1)
  UNION ALL
  SELECT run, metric, bin, unnest(array_repeat(value_ns, tokens)) AS value_ns
  FROM (
    SELECT w.run, w.metric, w.bin, t.value_ns, t.tokens
    FROM wanted w
    JOIN (
      SELECT run, gap_ns / tokens / 1000 AS bin, gap_ns / CAST(tokens AS DOUBLE) AS value_ns, tokens
      FROM token_chunks
      WHERE is_in_scope AND gap_ns > 0 AND tokens > 1
    ) t ON t.run = w.run AND t.bin = w.bin
    WHERE w.metric = 'itl_spread'
  )
),
placed AS (
  SELECT run, metric, bin, value_ns, row_number() OVER (PARTITION BY run, metric, bin ORDER BY value_ns) - 1 AS place
  FROM looked
),
single AS (
  SELECT run, metric, value_ns, row_number() OVER (PARTITION BY run, metric ORDER BY value_ns) - 1 AS rank
  FROM request_latencies
),
chosen AS (
  SELECT
    f.run, f.metric, f.rank,
    CASE WHEN f.place = 0 THEN f.low_ns WHEN f.place = f.n - 1 THEN f.high_ns ELSE coalesce(v.value_ns, f.low_ns) END
      AS value_ns
  FROM found f
  LEFT JOIN placed v ON v.run = f.run AND v.metric = f.metric AND v.bin = f.bin AND v.place = f.place
  UNION ALL
  SELECT k.run, k.metric, k.rank, v.value_ns
  FROM ranks k
  JOIN single v ON v.run = k.run AND v.metric = k.metric AND v.rank = k.rank
),
paired AS (
  SELECT
    p.run, p.metric, p.n, p.p, p.place - p.below AS weight,
    max(c.value_ns) FILTER (WHERE c.rank = p.below) AS below_ns,
    max(c.value_ns) FILTER (WHERE c.rank = p.above) AS above_ns
  FROM latency_places p
  JOIN chosen c ON c.run = p.run AND c.metric = p.metric
  WHERE c.rank = p.below OR c.rank = p.above
  GROUP BY p.run, p.metric, p.n, p.p, p.place, p.below
)
SELECT run, metric, n, p, below_ns + (above_ns - below_ns) * weight AS value_ns
FROM paired
