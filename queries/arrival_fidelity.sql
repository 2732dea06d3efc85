-- name: arrival_fidelity
-- purpose: whether requests left at the times, and in the bursts, that the schedule has
-- input: requests, runs
-- columns (unit): run, n (requests), gap_ks (share), within_1ms (share), peak_1s_due (requests), peak_1s_sent (requests), count_off_mean (requests), count_off_max (requests)
-- notes: of every measured request that was handed to the wire, whatever became of it, but for retries: they are late by what the attempts before them took
--   gap_ks is the largest distance between the distribution of gaps that were due and that of gaps as sent, both rounded to a millisecond (two-sample Kolmogorov-Smirnov)
--   within_1ms is the share that was handed to the wire less than a millisecond after it was due, and after the wait that a cap of the user's made
--   seconds count from the first due time; count_off is how many requests a second has more or less than were due in it
WITH sent AS (
  SELECT
    run,
    request_id,
    intended_ns,
    dispatched_ns,
    dispatched_ns - intended_ns - queued_ns AS late_ns,
    min(intended_ns) OVER (PARTITION BY run) AS first_ns
  FROM requests
  WHERE dispatched_ns IS NOT NULL AND attempt = 0
),
gaps AS (
  SELECT run, round((intended_ns - lag(intended_ns) OVER (PARTITION BY run ORDER BY intended_ns, request_id)) / 1e6) AS gap_ms,
    1 AS due, 0 AS gone
  FROM sent
  UNION ALL
  SELECT run, round((dispatched_ns - lag(dispatched_ns) OVER (PARTITION BY run ORDER BY dispatched_ns, request_id)) / 1e6) AS gap_ms,
    0 AS due, 1 AS gone
  FROM sent
),
rungs AS (
  SELECT run, gap_ms, sum(due) AS due, sum(gone) AS gone
  FROM gaps
  WHERE gap_ms IS NOT NULL
  GROUP BY run, gap_ms
),
below AS (
  SELECT
    run,
    CAST(sum(due) OVER (PARTITION BY run ORDER BY gap_ms) AS DOUBLE) / sum(due) OVER (PARTITION BY run) AS due_share,
    CAST(sum(gone) OVER (PARTITION BY run ORDER BY gap_ms) AS DOUBLE) / sum(gone) OVER (PARTITION BY run) AS gone_share
  FROM rungs
),
distances AS (
  SELECT run, max(abs(due_share - gone_share)) AS gap_ks
  FROM below
  GROUP BY run
),
marks AS (
  SELECT run, floor((intended_ns - first_ns) / 1e9) AS second, 1 AS due, 0 AS gone FROM sent
  UNION ALL
  SELECT run, floor((dispatched_ns - first_ns) / 1e9) AS second, 0 AS due, 1 AS gone FROM sent
),
seconds AS (
  SELECT run, second, sum(due) AS due, sum(gone) AS gone
  FROM marks
  GROUP BY run, second
),
counts AS (
  SELECT
    run,
    max(due) AS peak_1s_due,
    max(gone) AS peak_1s_sent,
    CAST(sum(abs(due - gone)) AS DOUBLE) / (max(second) + 1) AS count_off_mean,
    max(abs(due - gone)) AS count_off_max
  FROM seconds
  GROUP BY run
),
punctual AS (
  SELECT run, count(*) AS n, avg(CASE WHEN late_ns < 1000000 THEN 1.0 ELSE 0.0 END) AS within_1ms
  FROM sent
  GROUP BY run
)
SELECT
  p.run, p.n, d.gap_ks, p.within_1ms, c.peak_1s_due, c.peak_1s_sent, c.count_off_mean, c.count_off_max
FROM punctual p
JOIN counts c ON c.run = p.run
LEFT JOIN distances d ON d.run = p.run
JOIN runs r ON r.run = p.run
ORDER BY r.run_index
