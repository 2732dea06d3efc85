-- name: block_grid
-- purpose: how each run's window is cut into blocks of time, which intervals and verdicts are drawn from
-- input: windows, settings
-- columns (unit): run, from_ns (ns), to_ns (ns), width_ns (ns, of a block), blocks (blocks)
-- notes: the steady window is cut into settings.blocks of one length; where it has no length, the whole run is
SELECT w.run, w.from_ns, w.to_ns, (w.to_ns - w.from_ns) / CAST(s.blocks AS DOUBLE) AS width_ns, s.blocks
FROM (
  SELECT run, from_ns, to_ns, row_number() OVER (PARTITION BY run ORDER BY window_name DESC) AS place
  FROM windows
  WHERE seconds IS NOT NULL
) w
CROSS JOIN settings s
WHERE w.place = 1
