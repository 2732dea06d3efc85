-- name: comparison
-- purpose: every run against the first one
-- input: run_summary, latency_percentiles, throughput_windows, goodput, metrics, runs
-- columns (unit): run, metric, stat, unit, baseline, value, difference, ratio
-- notes: difference is value less baseline, ratio is value ÷ baseline; a row needs both
--   the form from the intended time stands where both runs are open loops
WITH numbers AS (
  SELECT run, 1 AS place, 'requests' AS metric, 'ok' AS stat, CAST(ok AS DOUBLE) AS value FROM run_summary
  UNION ALL
  SELECT run, 2, 'requests', 'not_ok', CAST(requests - ok AS DOUBLE) FROM run_summary
  UNION ALL
  SELECT run, 3, 'ok_share', 'run', ok_share FROM run_summary
  UNION ALL
  SELECT run, 10, 'rps', window_name, rps FROM throughput_windows WHERE window_name = 'steady'
  UNION ALL
  SELECT run, 11, 'output_tps', window_name, output_tps FROM throughput_windows WHERE window_name = 'steady'
  UNION ALL
  SELECT run, 12, 'total_tps', window_name, total_tps FROM throughput_windows WHERE window_name = 'steady'
  UNION ALL
  SELECT run, 13, 'rps', window_name, rps FROM throughput_windows WHERE window_name = 'run'
  UNION ALL
  SELECT run, 14, 'output_tps', window_name, output_tps FROM throughput_windows WHERE window_name = 'run'
  UNION ALL
  SELECT run, 20, 'goodput', window_name, goodput_rps FROM goodput WHERE window_name = 'steady'
  UNION ALL
  SELECT run, 21, 'attainment', window_name, attainment FROM goodput
  UNION ALL
  SELECT run, 30 + place, metric, stat, value
  FROM (
    SELECT
      l.run, l.metric, m.place,
      unnest(make_array('mean', 'p50', 'p90', 'p99', 'max')) AS stat,
      unnest(make_array(l.mean_ns, l.p50_ns, l.p90_ns, l.p99_ns, l.max_ns)) AS value
    FROM latency_percentiles l
    JOIN metrics m ON m.name = l.metric
    WHERE m.kind = 'latency' AND m.name NOT IN ('itl_spread', 'itl_resolved', 'icl')
  )
)
SELECT
  n.run,
  n.metric,
  n.stat,
  m.unit,
  b.value AS baseline,
  n.value,
  n.value - b.value AS difference,
  n.value / nullif(b.value, 0) AS ratio
FROM numbers n
JOIN metrics m ON m.name = n.metric
JOIN runs r ON r.run = n.run AND r.run_index > 0
JOIN runs f ON f.run_index = 0
JOIN numbers b ON b.run = f.run AND b.metric = n.metric AND b.stat = n.stat
JOIN (VALUES
  ('ok', 1), ('not_ok', 2), ('steady', 3), ('run', 4), ('mean', 5), ('p50', 6), ('p90', 7), ('p99', 8), ('max', 9)
) s(stat, place) ON s.stat = n.stat
WHERE n.value IS NOT NULL AND b.value IS NOT NULL
  AND (n.metric NOT LIKE '%_intended' OR (r.loop = 'open' AND f.loop = 'open'))
ORDER BY r.run_index, n.place, s.place
