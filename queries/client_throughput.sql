-- name: client_throughput
-- purpose: how many events the client took in a second, and how busy its busiest thread was with them
-- input: runs, windows, chunks, probes, measured
-- columns (unit): run, window_name (steady or run), seconds (s), events (events), events_per_s (events/s), cpu_share (share), requests (requests), ok (requests)
-- notes: over the steady window, or over the whole run where nothing was steady
--   events are all that were streamed, token-bearing or not; cpu_share is that of a receiving thread, the busiest one
WITH candidates AS (
  SELECT
    run, window_name, from_ns, to_ns, seconds,
    row_number() OVER (PARTITION BY run ORDER BY seconds IS NULL, window_name = 'run') AS place
  FROM windows
),
spans AS (
  SELECT run, window_name, from_ns, to_ns, seconds FROM candidates WHERE place = 1
),
arrived AS (
  SELECT s.run, count(*) AS events
  FROM chunks c
  JOIN spans s ON s.run = c.run
  WHERE c.arrival_ns >= s.from_ns AND c.arrival_ns <= s.to_ns
  GROUP BY s.run
),
intervals AS (
  SELECT
    run, worker, at_ns, cpu_ns,
    coalesce(at_ns - lag(at_ns) OVER (PARTITION BY run, worker ORDER BY at_ns), 100000000) AS interval_ns
  FROM probes
),
threads AS (
  SELECT i.run, i.worker, CAST(sum(i.cpu_ns) AS DOUBLE) / nullif(sum(i.interval_ns), 0) AS cpu_share
  FROM intervals i
  JOIN spans s ON s.run = i.run
  WHERE i.at_ns > s.from_ns AND i.at_ns <= s.to_ns
  GROUP BY i.run, i.worker
),
busiest AS (
  SELECT run, max(cpu_share) AS cpu_share FROM threads GROUP BY run
),
outcomes AS (
  SELECT run, count(*) AS requests, count(*) FILTER (WHERE status = 'ok') AS ok
  FROM measured
  GROUP BY run
)
SELECT
  r.run, s.window_name, s.seconds,
  coalesce(a.events, 0) AS events,
  a.events / s.seconds AS events_per_s,
  b.cpu_share,
  coalesce(o.requests, 0) AS requests,
  coalesce(o.ok, 0) AS ok
FROM runs r
JOIN spans s ON s.run = r.run
LEFT JOIN arrived a ON a.run = r.run
LEFT JOIN busiest b ON b.run = r.run
LEFT JOIN outcomes o ON o.run = r.run
ORDER BY r.run_index
