-- name: server_spans
-- purpose: what servers and machines said of their state, each value with the time for which it stands
-- input: server_metrics, server_meanings, power_spans
-- columns (unit): run, quantity, combine (sum or mean over devices), device, from_ns (ns), to_ns (ns), value
-- notes: quantities are the gauges of server_meanings, and cpu_use and memory_use (shares) and cpu_power (W) of machines
--   a gauge stands until the next scrape, 3 s at most; what is said of CPU and energy stands for the time since the scrape before
WITH gauges AS (
  SELECT
    m.run, n.quantity, n.combine, m.at_ns, m.value * n.scale AS value,
    coalesce(
      regexp_match(CAST(m.labels AS VARCHAR), 'UUID="([^"]*)"')[1],
      concat(m.source, ' ', m.labels)
    ) AS device,
    n.place,
    min(n.place) OVER (PARTITION BY m.run, n.quantity) AS first_place
  FROM server_metrics m
  JOIN server_meanings n ON n.name = m.name
  WHERE n.kind = 'gauge' AND m.value IS NOT NULL
),
told AS (
  SELECT run, quantity, combine, device, at_ns, value
  FROM gauges
  WHERE place = first_place
  UNION ALL
  SELECT
    run, 'memory_use', 'mean', CAST(source AS VARCHAR), at_ns,
    1 - max(value) FILTER (WHERE name = 'node_memory_MemAvailable_bytes')
      / nullif(max(value) FILTER (WHERE name = 'node_memory_MemTotal_bytes'), 0)
  FROM server_metrics
  WHERE name IN ('node_memory_MemAvailable_bytes', 'node_memory_MemTotal_bytes')
  GROUP BY run, source, at_ns
),
cpu_times AS (
  SELECT
    run, source, at_ns,
    sum(value) AS total,
    sum(value) FILTER (WHERE labels LIKE '%mode="idle"%' OR labels LIKE '%mode="iowait"%') AS idle
  FROM server_metrics
  WHERE name = 'node_cpu_seconds_total'
  GROUP BY run, source, at_ns
),
cpu AS (
  SELECT
    run, source, at_ns AS to_ns,
    lag(at_ns) OVER (PARTITION BY run, source ORDER BY at_ns) AS from_ns,
    1 - (idle - lag(idle) OVER (PARTITION BY run, source ORDER BY at_ns))
      / nullif(total - lag(total) OVER (PARTITION BY run, source ORDER BY at_ns), 0) AS cpu_use
  FROM cpu_times
),
held AS (
  SELECT
    run, quantity, combine, device, at_ns AS from_ns,
    least(
      coalesce(
        lead(at_ns) OVER (PARTITION BY run, quantity, device ORDER BY at_ns),
        at_ns + 1000000000
      ),
      at_ns + 3000000000
    ) AS to_ns,
    value
  FROM told
  UNION ALL
  SELECT
    run, 'cpu_use', 'mean', CAST(source AS VARCHAR), from_ns, to_ns,
    least(greatest(cpu_use, 0.0), 1.0)
  FROM cpu
  UNION ALL
  SELECT run, 'cpu_power', 'sum', device, from_ns, to_ns, watts
  FROM power_spans
  WHERE part = 'cpu'
)
SELECT run, quantity, combine, device, from_ns, to_ns, value
FROM held
WHERE to_ns > from_ns AND value IS NOT NULL
