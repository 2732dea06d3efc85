-- name: itl_heatmap
-- purpose: how the times between tokens spread, over time
-- input: gap_cells, run_spans, runs
-- columns (unit): run, at_ns (ns), width_ns (ns), low_ns (ns), high_ns (ns), n (tokens)
-- notes: two cells an octave from 2^10 ns up; everything below is one cell; empty cells are left out
WITH placed AS (
  SELECT run, time_bin, CASE WHEN bin >= 2560 THEN bin / 128 ELSE 0 END AS cell, n FROM gap_cells
  UNION ALL
  SELECT run, time_bin, 0 AS cell, zeros AS n FROM gap_cells WHERE zeros > 0
),
cells AS (
  SELECT run, time_bin, cell, sum(n) AS n FROM placed GROUP BY run, time_bin, cell
)
SELECT
  c.run, c.time_bin * s.width_ns AS at_ns, s.width_ns,
  CASE WHEN c.cell = 0 THEN 0 ELSE CAST(round(power(2.0, c.cell / 2.0)) AS BIGINT) END AS low_ns,
  CASE WHEN c.cell = 0 THEN 1024 ELSE CAST(round(power(2.0, (c.cell + 1) / 2.0)) AS BIGINT) END AS high_ns,
  c.n
FROM cells c
JOIN run_spans s ON s.run = c.run
JOIN runs r ON r.run = c.run
ORDER BY r.run_index, at_ns, low_ns
