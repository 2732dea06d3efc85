-- name: in_flight
-- purpose: how many measured requests were in flight, as a step function of time
-- input: tape_requests, run_spans
-- columns (unit): run, from_ns (ns), to_ns (ns), in_flight (requests)
-- notes: an attempt is in flight from when it is handed to the wire until it ends; starts and ends at one instant cancel out
WITH attempts_in_flight AS (
  SELECT
    r.run,
    coalesce(r.dispatched_ns, r.sent_ns) AS from_ns,
    coalesce(r.end_ns, s.end_ns) AS to_ns
  FROM tape_requests r
  JOIN run_spans s ON s.run = r.run
  WHERE r.phase = 'measure' AND coalesce(r.dispatched_ns, r.sent_ns) IS NOT NULL
),
changes AS (
  SELECT run, from_ns AS at_ns, 1 AS change FROM attempts_in_flight
  UNION ALL
  SELECT run, to_ns AS at_ns, -1 AS change FROM attempts_in_flight
),
instants AS (
  SELECT run, at_ns, sum(change) AS change FROM changes GROUP BY run, at_ns
)
SELECT
  run,
  at_ns AS from_ns,
  lead(at_ns) OVER (PARTITION BY run ORDER BY at_ns) AS to_ns,
  sum(change) OVER (PARTITION BY run ORDER BY at_ns) AS in_flight
FROM instants
