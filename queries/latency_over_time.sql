-- name: latency_over_time
-- purpose: time to first token by when the request was sent, and time between tokens by when they arrived
-- input: time_bins, run_spans, request_latencies, gap_cells, token_chunks, runs
-- columns (unit): run, at_ns (ns), width_ns (ns), n (requests), ttft_p50_ns (ns), ttft_p99_ns (ns), ttft_max_ns (ns), itl_p50_ns (ns), itl_p99_ns (ns), itl_max_ns (ns)
-- notes: n is the number of ok requests that were sent in the bin; a bin without values has nulls
--   percentiles are exact; gap_cells says where those of itl lie, and only what is there is sorted, as in latency_points
WITH firsts AS (
  SELECT
    l.run, CAST(floor(l.at_ns / CAST(s.width_ns AS DOUBLE)) AS BIGINT) AS bin,
    count(*) AS n,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY l.value_ns) AS p50_ns,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY l.value_ns) AS p99_ns,
    max(l.value_ns) AS max_ns
  FROM run_spans s
  JOIN request_latencies l ON l.run = s.run
  WHERE l.metric = 'ttft'
  GROUP BY 1, 2
),
cells AS (
  SELECT
    run, time_bin, bin, sum(n) AS n,
    min(low_ns) AS low_ns, max(high_ns) AS high_ns
  FROM (
    SELECT run, time_bin, bin, n, low_ns, high_ns FROM gap_cells
    UNION ALL
    SELECT run, time_bin, -1 AS bin, zeros AS n, 0.0 AS low_ns, 0.0 AS high_ns FROM gap_cells WHERE zeros > 0
  )
  GROUP BY run, time_bin, bin
),
ranked AS (
  SELECT
    run, time_bin, bin, n, low_ns, high_ns,
    sum(n) OVER (PARTITION BY run, time_bin ORDER BY bin) - n AS first_rank
  FROM cells
),
places AS (
  SELECT
    s.run, s.time_bin, s.max_ns, p.p, p.p * (s.n - 1) AS place,
    CAST(floor(p.p * (s.n - 1)) AS BIGINT) AS below,
    CAST(ceil(p.p * (s.n - 1)) AS BIGINT) AS above
  FROM (SELECT run, time_bin, sum(n) AS n, max(high_ns) AS max_ns FROM cells GROUP BY run, time_bin) s
  CROSS JOIN (VALUES (0.5), (0.99)) p(p)
),
ranks AS (
  SELECT run, time_bin, below AS rank FROM places
  UNION
  SELECT run, time_bin, above AS rank FROM places
),
found AS (
  SELECT k.run, k.time_bin, k.rank, b.bin, b.n, b.low_ns, b.high_ns, k.rank - b.first_rank AS place
  FROM ranks k
  JOIN ranked b
    ON b.run = k.run AND b.time_bin = k.time_bin AND k.rank >= b.first_rank AND k.rank < b.first_rank + b.n
),
wanted AS (
  SELECT DISTINCT run, time_bin, bin
  FROM found
  WHERE place BETWEEN 1 AND n - 2 AND low_ns < high_ns
),
placed AS (
  SELECT
    w.run, w.time_bin, w.bin, CAST(t.gap_ns AS DOUBLE) AS value_ns,
    row_number() OVER (PARTITION BY w.run, w.time_bin, w.bin ORDER BY t.gap_ns) - 1 AS place
  FROM wanted w
  JOIN (
    SELECT run, time_bin, CAST(floor(log2(CAST(gap_ns AS DOUBLE)) * 256) AS BIGINT) AS bin, gap_ns
    FROM token_chunks
    WHERE is_in_scope AND gap_ns > 0
  ) t ON t.run = w.run AND t.time_bin = w.time_bin AND t.bin = w.bin
),
chosen AS (
  SELECT
    f.run, f.time_bin, f.rank,
    CASE WHEN f.place = 0 THEN f.low_ns WHEN f.place = f.n - 1 THEN f.high_ns ELSE coalesce(v.value_ns, f.low_ns) END
      AS value_ns
  FROM found f
  LEFT JOIN placed v ON v.run = f.run AND v.time_bin = f.time_bin AND v.bin = f.bin AND v.place = f.place
),
paired AS (
  SELECT
    p.run, p.time_bin, p.p, p.max_ns, p.place - p.below AS weight,
    max(c.value_ns) FILTER (WHERE c.rank = p.below) AS below_ns,
    max(c.value_ns) FILTER (WHERE c.rank = p.above) AS above_ns
  FROM places p
  JOIN chosen c ON c.run = p.run AND c.time_bin = p.time_bin
  WHERE c.rank = p.below OR c.rank = p.above
  GROUP BY p.run, p.time_bin, p.p, p.max_ns, p.place, p.below
),
gaps AS (
  SELECT
    run, time_bin,
    max(below_ns + (above_ns - below_ns) * weight) FILTER (WHERE p = 0.5) AS p50_ns,
    max(below_ns + (above_ns - below_ns) * weight) FILTER (WHERE p = 0.99) AS p99_ns,
    max(max_ns) AS max_ns
  FROM paired
  GROUP BY run, time_bin
)
SELECT
  b.run, b.at_ns, b.width_ns, coalesce(f.n, 0) AS n,
  f.p50_ns AS ttft_p50_ns, f.p99_ns AS ttft_p99_ns, f.max_ns AS ttft_max_ns,
  g.p50_ns AS itl_p50_ns, g.p99_ns AS itl_p99_ns, g.max_ns AS itl_max_ns
FROM time_bins b
JOIN runs r ON r.run = b.run
LEFT JOIN firsts f ON f.run = b.run AND f.bin = b.bin
LEFT JOIN gaps g ON g.run = b.run AND g.time_bin = b.bin
ORDER BY r.run_index, b.at_ns
