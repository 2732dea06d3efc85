-- name: rate_spans
-- purpose: all spans of time that rates are taken over: the windows and the steps of each run
-- input: windows, steps
-- columns (unit): run, kind (window or step), window_name, step, from_ns (ns), to_ns (ns), seconds (s)
SELECT run, 'window' AS kind, window_name, CAST(-1 AS BIGINT) AS step, from_ns, to_ns, seconds
FROM windows
UNION ALL
SELECT
  run, 'step' AS kind, 'step' AS window_name, step, from_ns, to_ns,
  CASE WHEN to_ns > from_ns THEN (to_ns - from_ns) / 1e9 END AS seconds
FROM steps
