-- name: schedule_fidelity
-- purpose: how well the client kept to the schedule
-- input: attempts, runs
-- columns (unit): run, n (requests), slip_p50_ns (ns), slip_p99_ns (ns), slip_max_ns (ns), queued_p50_ns (ns), queued_p99_ns (ns), queued_max_ns (ns), intended_rate_per_s (requests/s), achieved_rate_per_s (requests/s)
-- notes: of the first attempt at every measured request, where it was sent, whatever became of it; a rate is the intervals ÷ the time from the first to the last
--   slip is the client's own lateness; queued is what a cap that the user set held back
WITH sent AS (
  SELECT
    run,
    count(*) AS n,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY slip_ns) AS slip_p50_ns,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY slip_ns) AS slip_p99_ns,
    max(slip_ns) AS slip_max_ns,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY queued_ns) AS queued_p50_ns,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY queued_ns) AS queued_p99_ns,
    max(queued_ns) AS queued_max_ns,
    (count(*) - 1) / nullif((max(intended_ns) - min(intended_ns)) / 1e9, 0) AS intended_rate_per_s,
    (count(*) - 1) / nullif((max(sent_ns) - min(sent_ns)) / 1e9, 0) AS achieved_rate_per_s
  FROM attempts
  WHERE phase = 'measure' AND attempt = 0 AND sent_ns IS NOT NULL
  GROUP BY run
)
SELECT s.*
FROM sent s
JOIN runs r ON r.run = s.run
ORDER BY r.run_index
