-- name: jitter
-- purpose: how unevenly the chunks of an answer came
-- input: smoothness, runs
-- columns (unit): run, n (requests), mean_ns (ns), p50_ns (ns), p90_ns (ns), p99_ns (ns), max_ns (ns)
-- notes: one value a request in latency_scope that has at least two gaps: the mean absolute difference of its successive gaps between token-bearing chunks
--   the differences are those of RFC 3550 (6.4.1), averaged over the answer rather than smoothed
-- defines: jitter (ns): mean absolute difference of successive gaps; one value a request
SELECT
  j.run, j.n, j.mean_ns, j.p50_ns, j.p90_ns, j.p99_ns, j.max_ns
FROM (
  SELECT
    run,
    count(*) AS n,
    avg(jitter_ns) AS mean_ns,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY jitter_ns) AS p50_ns,
    percentile_cont(0.9) WITHIN GROUP (ORDER BY jitter_ns) AS p90_ns,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY jitter_ns) AS p99_ns,
    max(jitter_ns) AS max_ns
  FROM smoothness
  WHERE jitter_ns IS NOT NULL
  GROUP BY run
) j
JOIN runs r ON r.run = j.run
ORDER BY r.run_index
