-- name: warmup_found
-- purpose: how long a run took to become level
-- input: measured, runs, in_flight
-- columns (unit): run, n (requests), batches (batches), cut (batches), found_ns (ns)
-- notes: open loop, by the requests in flight at each dispatch: MSER-5 (White, Cobb and Spratt 2000): means of five successive requests; the cut is where the rest has the least squared error of its mean, Σ(y - mean)² ÷ m² over the m batches that are left
--   there found_ns is when the first request that is left was dispatched, and 0 where nothing is cut; null where the cut is in the second half, which says that the run never became level, and where there are fewer than ten batches
--   closed loop, where as many are in flight from the start: found_ns is when the first request of every slot has had its first token, or ended without one; all slots begin together, and until then prompts wait for each other as they do no more afterwards
--   there it is null where under half of the requests were due from then on
WITH open_loops AS (
  SELECT run FROM runs WHERE loop = 'open'
),
seen AS (
  SELECT
    m.run, m.dispatched_ns, CAST(i.in_flight AS DOUBLE) AS y,
    row_number() OVER (PARTITION BY m.run ORDER BY m.dispatched_ns, m.request_id) - 1 AS place,
    avg(CAST(i.in_flight AS DOUBLE)) OVER (PARTITION BY m.run) AS middle
  FROM measured m
  LEFT SEMI JOIN open_loops o ON o.run = m.run
  JOIN in_flight i ON i.run = m.run AND i.from_ns = m.dispatched_ns
),
means AS (
  SELECT
    run, CAST(floor(place / 5.0) AS BIGINT) AS batch,
    avg(y - middle) AS y, min(dispatched_ns) AS from_ns, count(*) AS size
  FROM seen
  GROUP BY run, floor(place / 5.0)
),
rests AS (
  SELECT
    run, batch, from_ns,
    count(*) OVER rest AS m,
    sum(y) OVER rest AS y1,
    sum(y * y) OVER rest AS y2,
    count(*) OVER (PARTITION BY run) AS batches
  FROM means
  WHERE size = 5
  WINDOW rest AS (PARTITION BY run ORDER BY batch DESC)
),
errors AS (
  SELECT run, batch, from_ns, batches, greatest(y2 - y1 * y1 / m, 0) / (m * m) AS squared_error
  FROM rests
  WHERE m >= 5 AND batches >= 10
),
ranked AS (
  SELECT *, row_number() OVER (PARTITION BY run ORDER BY squared_error, batch) AS place FROM errors
),
counts AS (
  SELECT run, count(*) AS n FROM seen GROUP BY run
),
slots AS (
  SELECT r.run, coalesce(r.max_concurrency, r.max_sessions, max(i.in_flight)) AS slots
  FROM runs r
  JOIN in_flight i ON i.run = r.run
  WHERE r.loop = 'closed'
  GROUP BY r.run, r.max_concurrency, r.max_sessions
),
turns AS (
  SELECT
    m.run, m.intended_ns, coalesce(m.begun_ns, m.end_ns) AS begun_ns,
    row_number() OVER (PARTITION BY m.run ORDER BY m.dispatched_ns, m.request_id) AS place
  FROM measured m
  WHERE m.dispatched_ns IS NOT NULL
),
begun AS (
  SELECT t.run, max(t.begun_ns) AS at_ns
  FROM turns t
  JOIN slots s ON s.run = t.run
  WHERE t.place <= s.slots
  GROUP BY t.run
)
SELECT
  c.run, c.n,
  CAST(floor(c.n / 5.0) AS BIGINT) AS batches,
  k.batch AS cut,
  CASE WHEN k.batch = 0 THEN 0 WHEN 2 * k.batch <= k.batches THEN k.from_ns END AS found_ns
FROM counts c
LEFT JOIN ranked k ON k.run = c.run AND k.place = 1
UNION ALL
SELECT
  t.run, count(*) AS n,
  CAST(floor(count(*) / 5.0) AS BIGINT) AS batches,
  CAST(NULL AS BIGINT) AS cut,
  CASE WHEN 2 * count(*) FILTER (WHERE t.intended_ns >= b.at_ns) >= count(*) THEN max(b.at_ns) END AS found_ns
FROM turns t
JOIN begun b ON b.run = t.run
GROUP BY t.run
