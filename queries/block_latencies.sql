-- name: block_latencies
-- purpose: every latency as a histogram a block of time, which intervals and verdicts are drawn from
-- input: latencies, block_grid, metrics
-- columns (unit): run, metric, block (position in time, from the start of the window), bin, n (values), sum_ns (ns), low_ns (ns), high_ns (ns)
-- notes: the blocks are those of block_grid; values before and after the window have blocks of the same length before and after its own, at most as many to either side
--   a bin is 1/256 of a doubling wide, and keeps its smallest and largest value; bin -1 holds what is not above zero
SELECT
  l.run,
  l.metric,
  CAST(least(greatest(floor((l.at_ns - g.from_ns) / g.width_ns), -g.blocks), 2 * g.blocks - 1) AS BIGINT) AS block,
  CASE WHEN l.value_ns > 0 THEN CAST(floor(log2(l.value_ns) * 256) AS BIGINT) ELSE -1 END AS bin,
  count(*) AS n,
  sum(l.value_ns) AS sum_ns,
  min(l.value_ns) AS low_ns,
  max(l.value_ns) AS high_ns
FROM latencies l
JOIN block_grid g ON g.run = l.run
JOIN metrics m ON m.name = l.metric AND m.kind = 'latency'
GROUP BY 1, 2, 3, 4
