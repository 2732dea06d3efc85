-- name: block_latencies
-- purpose: every latency as a histogram a block of time, which intervals and verdicts are drawn from
-- input: request_latencies, gap_cells, token_chunks, block_grid, metrics
-- columns (unit): run, metric, block (position in time, from the start of the window), bin, n (values), sum_ns (ns), low_ns (ns), high_ns (ns)
-- notes: the blocks are those of block_grid; values before and after the window have blocks of the same length before and after its own, at most as many to either side
--   a bin is 1/256 of a doubling wide, and keeps its smallest and largest value; bin -1 holds what is not above zero
WITH single AS (
  SELECT run, metric, at_ns, value_ns, CAST(1 AS BIGINT) AS times FROM request_latencies
  UNION ALL
  SELECT run, 'itl_spread' AS metric, arrival_ns AS at_ns, gap_ns / CAST(tokens AS DOUBLE) AS value_ns, tokens AS times
  FROM token_chunks
  WHERE is_in_scope AND gap_ns IS NOT NULL AND tokens > 1
),
told AS (
  SELECT
    l.run, l.metric,
    CAST(least(greatest(floor((l.at_ns - g.from_ns) / g.width_ns), -g.blocks), 2 * g.blocks - 1) AS BIGINT) AS block,
    CASE WHEN l.value_ns > 0 THEN CAST(floor(log2(l.value_ns) * 256) AS BIGINT) ELSE -1 END AS bin,
    sum(l.times) AS n, sum(l.times * l.value_ns) AS sum_ns, min(l.value_ns) AS low_ns, max(l.value_ns) AS high_ns
  FROM block_grid g
  JOIN single l ON l.run = g.run
  GROUP BY 1, 2, 3, 4
  UNION ALL
  SELECT run, unnest(make_array('itl', 'icl')) AS metric, block, bin, n, sum_ns, low_ns, high_ns FROM gap_cells
  UNION ALL
  SELECT run, 'itl' AS metric, block, -1 AS bin, zeros AS n, 0.0 AS sum_ns, 0.0 AS low_ns, 0.0 AS high_ns
  FROM gap_cells
  WHERE zeros > 0
  UNION ALL
  SELECT run, 'itl_resolved' AS metric, block, bin, n, sum_ns, low_ns, high_ns FROM gap_cells WHERE is_resolved
  UNION ALL
  SELECT run, 'itl_spread' AS metric, block, bin, n, sum_ns, low_ns, high_ns FROM gap_cells WHERE NOT has_several
)
SELECT
  t.run, t.metric, t.block, t.bin,
  sum(t.n) AS n, sum(t.sum_ns) AS sum_ns, min(t.low_ns) AS low_ns, max(t.high_ns) AS high_ns
FROM told t
JOIN metrics m ON m.name = t.metric AND m.kind = 'latency'
WHERE t.block IS NOT NULL
GROUP BY 1, 2, 3, 4
