-- name: power_spans
-- purpose: what each GPU, and each processor and its memory, drew from one scrape to the next
-- input: server_metrics
-- columns (unit): run, part (gpu or cpu), device, from_ns (ns), to_ns (ns), watts (W)
-- notes: gpu: the mean of DCGM_FI_DEV_POWER_USAGE at both ends; a GPU that two sources tell of, known by its UUID, counts once
--   cpu: what the counters node_rapl_package_joules_total and node_rapl_dram_joules_total grew by, over the time; one that fell had run over
--   more than 10 s without a scrape are left out
WITH told AS (
  SELECT
    run,
    CASE WHEN name = 'DCGM_FI_DEV_POWER_USAGE' THEN 'gpu' ELSE 'cpu' END AS part,
    coalesce(
      regexp_match(CAST(labels AS VARCHAR), 'UUID="([^"]*)"')[1],
      concat(source, ' ', name, ' ', labels)
    ) AS device,
    at_ns, value
  FROM server_metrics
  WHERE name IN (
    'DCGM_FI_DEV_POWER_USAGE', 'node_rapl_package_joules_total', 'node_rapl_dram_joules_total'
  ) AND value IS NOT NULL
),
paired AS (
  SELECT
    run, part, device, at_ns AS to_ns, value,
    lag(at_ns) OVER (PARTITION BY run, part, device ORDER BY at_ns) AS from_ns,
    lag(value) OVER (PARTITION BY run, part, device ORDER BY at_ns) AS value_before
  FROM told
)
SELECT
  run, part, device, from_ns, to_ns,
  CASE part
    WHEN 'gpu' THEN (value + value_before) / 2
    ELSE (value - value_before) * 1e9 / (to_ns - from_ns)
  END AS watts
FROM paired
WHERE to_ns > from_ns AND to_ns - from_ns <= 10000000000 AND (part = 'gpu' OR value >= value_before)
