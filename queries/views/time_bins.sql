-- name: time_bins
-- purpose: the bins of a run's charts over time, without a hole
-- input: run_spans, settings
-- columns (unit): run, bin, at_ns (ns, its start), width_ns (ns)
-- notes: behind unnest DataFusion 55 still takes the run for a key, so that DISTINCT and ORDER BY go wrong; a join ends that
SELECT run, bin, bin * width_ns AS at_ns, width_ns
FROM (
  SELECT
    run, width_ns,
    unnest(range(
      CAST(floor(least(first_intended_ns, 0) / CAST(width_ns AS DOUBLE)) AS BIGINT),
      CAST(floor(end_ns / CAST(width_ns AS DOUBLE)) AS BIGINT) + 1
    )) AS bin
  FROM run_spans
  CROSS JOIN settings
)
