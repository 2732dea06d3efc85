-- name: run_spans
-- purpose: when each run did what, and how wide the bins of its charts are
-- input: measured, tape_requests
-- columns (unit): run, requests, first_intended_ns (ns), last_intended_ns (ns), first_sent_ns (ns), last_dispatched_ns (ns), last_token_ns (ns), last_end_ns (ns), end_ns (ns), width_ns (ns)
-- notes: last_token_ns is when the last request was answered
--   first_sent_ns is when the first attempt at any request was sent; one of which nothing could be sent, such as one whose connection was refused, counts from when it was handed to the wire
--   last_end_ns is when the last attempt ended, whatever became of it
--   end_ns is when nothing happened any more, requests that were never sent included
--   width_ns is 1, 2 or 5 times a power of ten, at least 1 ms, and gives at most 120 bins from 0 to end_ns
WITH spans AS (
  SELECT
    run,
    count(*) AS requests,
    min(intended_ns) AS first_intended_ns,
    max(intended_ns) AS last_intended_ns,
    max(coalesce(dispatched_ns, sent_ns)) AS last_dispatched_ns,
    max(answered_ns) AS last_token_ns,
    max(greatest(intended_ns, end_ns, last_token_ns, sent_ns, dispatched_ns)) AS end_ns
  FROM measured
  GROUP BY run
),
tried AS (
  SELECT
    run,
    min(coalesce(sent_ns, dispatched_ns)) AS first_sent_ns,
    max(greatest(end_ns, last_token_ns)) AS last_end_ns
  FROM tape_requests
  WHERE phase = 'measure' AND coalesce(sent_ns, dispatched_ns) IS NOT NULL
  GROUP BY run
),
rough AS (
  SELECT
    s.*, t.first_sent_ns, t.last_end_ns,
    greatest((s.end_ns - least(s.first_intended_ns, 0)) / 119.0, 1e6) AS rough_ns
  FROM spans s
  LEFT JOIN tried t ON t.run = s.run
),
scaled AS (
  SELECT *, power(10.0, floor(log10(rough_ns))) AS magnitude FROM rough
)
SELECT
  run, requests, first_intended_ns, last_intended_ns, first_sent_ns, last_dispatched_ns,
  last_token_ns, last_end_ns, end_ns,
  CAST(magnitude * CASE
    WHEN rough_ns <= magnitude THEN 1
    WHEN rough_ns <= 2 * magnitude THEN 2
    WHEN rough_ns <= 5 * magnitude THEN 5
    ELSE 10
  END AS BIGINT) AS width_ns
FROM scaled
