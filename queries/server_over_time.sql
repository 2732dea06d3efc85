-- name: server_over_time
-- purpose: what the server, its GPUs and the machines said of their state, on the axis of the latencies
-- input: server_spans, time_bins, run_spans, runs
-- columns (unit): run, at_ns (ns), width_ns (ns), running (requests), waiting (requests), kv_use (share), gpu_use (share), gpu_power_w (W), cpu_use (share), memory_use (share), cpu_power_w (W)
-- notes: means over the bin, weighted by the time for which each value stands; null where nothing was said, as in a gap
--   requests and power are summed over series and devices, shares are means over them
--   there are no rows for a run whose sources said none of these
WITH binned AS (
  SELECT
    run, quantity, combine, device, from_ns, to_ns, value, width_ns,
    unnest(range(
      CAST(floor(from_ns / CAST(width_ns AS DOUBLE)) AS BIGINT),
      CAST(floor(to_ns / CAST(width_ns AS DOUBLE)) AS BIGINT) + 1
    )) AS bin
  FROM (
    SELECT p.run, p.quantity, p.combine, p.device, p.from_ns, p.to_ns, p.value, s.width_ns
    FROM server_spans p
    JOIN run_spans s ON s.run = p.run
    WHERE p.from_ns <= s.end_ns
  )
),
by_device AS (
  SELECT
    run, bin, quantity, combine, device,
    sum(value * (least(to_ns, (bin + 1) * width_ns) - greatest(from_ns, bin * width_ns)))
      / nullif(sum(least(to_ns, (bin + 1) * width_ns) - greatest(from_ns, bin * width_ns)), 0) AS value
  FROM binned
  GROUP BY run, bin, quantity, combine, device
),
combined AS (
  SELECT
    run, bin, quantity,
    CASE combine WHEN 'sum' THEN sum(value) ELSE avg(value) END AS value
  FROM by_device
  GROUP BY run, bin, quantity, combine
),
paired AS (
  SELECT
    run, bin,
    max(CASE WHEN quantity = 'running' THEN value END) AS running,
    max(CASE WHEN quantity = 'waiting' THEN value END) AS waiting,
    max(CASE WHEN quantity = 'kv_use' THEN value END) AS kv_use,
    max(CASE WHEN quantity = 'gpu_use' THEN value END) AS gpu_use,
    max(CASE WHEN quantity = 'gpu_power' THEN value END) AS gpu_power_w,
    max(CASE WHEN quantity = 'cpu_use' THEN value END) AS cpu_use,
    max(CASE WHEN quantity = 'memory_use' THEN value END) AS memory_use,
    max(CASE WHEN quantity = 'cpu_power' THEN value END) AS cpu_power_w
  FROM combined
  GROUP BY run, bin
),
scraped AS (
  SELECT run FROM paired GROUP BY run
)
SELECT
  b.run, b.at_ns, b.width_ns,
  p.running, p.waiting, p.kv_use, p.gpu_use, p.gpu_power_w, p.cpu_use, p.memory_use, p.cpu_power_w
FROM time_bins b
JOIN runs r ON r.run = b.run
JOIN scraped s ON s.run = b.run
LEFT JOIN paired p ON p.run = b.run AND p.bin = b.bin
ORDER BY r.run_index, b.at_ns
