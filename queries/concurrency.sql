-- name: concurrency
-- purpose: how many requests were in flight, weighted by how long
-- input: windows, in_flight, runs
-- columns (unit): run, window_name (steady or run), seconds (s), mean (requests), min (requests), p50 (requests), p90 (requests), p99 (requests), max (requests)
-- notes: of measured requests, from when one is handed to the wire until it ends; exact, from every start and every end
--   a percentile p is the least number that was not exceeded for a share p of the window's time; min and max were held for some time
-- defines: concurrency (requests): requests in flight; its mean is the sum of their times in the window ÷ the window's length
WITH held AS (
  SELECT
    w.run, w.window_name, i.in_flight,
    sum(least(i.to_ns, w.to_ns) - greatest(i.from_ns, w.from_ns)) AS held_ns
  FROM windows w
  JOIN in_flight i ON i.run = w.run AND i.to_ns > w.from_ns AND i.from_ns < w.to_ns
  WHERE w.seconds IS NOT NULL
  GROUP BY w.run, w.window_name, i.in_flight
),
idle AS (
  SELECT w.run, w.window_name, w.to_ns - w.from_ns - coalesce(sum(h.held_ns), 0) AS held_ns
  FROM windows w
  LEFT JOIN held h ON h.run = w.run AND h.window_name = w.window_name
  WHERE w.seconds IS NOT NULL
  GROUP BY w.run, w.window_name, w.from_ns, w.to_ns
),
levels AS (
  SELECT run, window_name, in_flight, sum(held_ns) AS held_ns
  FROM (
    SELECT run, window_name, in_flight, held_ns FROM held
    UNION ALL
    SELECT run, window_name, 0 AS in_flight, held_ns FROM idle WHERE held_ns > 0
  )
  GROUP BY run, window_name, in_flight
),
summed AS (
  SELECT
    run, window_name, in_flight, held_ns,
    sum(held_ns) OVER (PARTITION BY run, window_name ORDER BY in_flight) AS up_to_ns,
    sum(held_ns) OVER (PARTITION BY run, window_name) AS all_ns
  FROM levels
),
statistics AS (
  SELECT
    run, window_name,
    CAST(sum(in_flight * held_ns) AS DOUBLE) / max(all_ns) AS mean,
    min(in_flight) AS min,
    min(in_flight) FILTER (WHERE up_to_ns >= 0.5 * all_ns) AS p50,
    min(in_flight) FILTER (WHERE up_to_ns >= 0.9 * all_ns) AS p90,
    min(in_flight) FILTER (WHERE up_to_ns >= 0.99 * all_ns) AS p99,
    max(in_flight) AS max
  FROM summed
  GROUP BY run, window_name
)
SELECT w.run, w.window_name, w.seconds, s.mean, s.min, s.p50, s.p90, s.p99, s.max
FROM windows w
JOIN runs r ON r.run = w.run
LEFT JOIN statistics s ON s.run = w.run AND s.window_name = w.window_name
ORDER BY r.run_index, w.window_name DESC
