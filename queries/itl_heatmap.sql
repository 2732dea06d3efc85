-- name: itl_heatmap
-- purpose: how the times between tokens spread, over time
-- input: tokens, latency_scope, run_spans, runs
-- columns (unit): run, at_ns (ns), width_ns (ns), low_ns (ns), high_ns (ns), n (tokens)
-- notes: two cells an octave from 2^10 ns up; everything below is one cell; empty cells are left out
WITH placed AS (
  SELECT
    t.run,
    CAST(floor(t.arrival_ns / CAST(s.width_ns AS DOUBLE)) AS BIGINT) * s.width_ns AS at_ns,
    s.width_ns,
    CASE WHEN t.itl_ns >= 1024 THEN CAST(floor(2 * log2(CAST(t.itl_ns AS DOUBLE))) AS BIGINT) ELSE 0 END AS cell
  FROM tokens t
  JOIN run_spans s ON s.run = t.run
  LEFT SEMI JOIN latency_scope ok
    ON ok.run = t.run AND ok.request_id = t.request_id AND ok.attempt = t.attempt
),
cells AS (
  SELECT run, at_ns, width_ns, cell, count(*) AS n FROM placed GROUP BY run, at_ns, width_ns, cell
)
SELECT
  c.run, c.at_ns, c.width_ns,
  CASE WHEN c.cell = 0 THEN 0 ELSE CAST(round(power(2.0, c.cell / 2.0)) AS BIGINT) END AS low_ns,
  CASE WHEN c.cell = 0 THEN 1024 ELSE CAST(round(power(2.0, (c.cell + 1) / 2.0)) AS BIGINT) END AS high_ns,
  c.n
FROM cells c
JOIN runs r ON r.run = c.run
ORDER BY r.run_index, c.at_ns, low_ns
