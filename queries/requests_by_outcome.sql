-- name: requests_by_outcome
-- purpose: how the measured requests ended, and with which message: the ok ones first, then what came first
-- input: measured, runs
-- columns (unit): run, status, error_kind, http_status, requests (requests), first_ns (ns), example_message
-- notes: not_sent counts those as well that have no row (unwritten_requests of runs)
--   messages that differ in numbers and ids alone are one; the first 8 of a kind have a row each, and the last row of a kind that has more is of all others
--   first_ns is the first outcome_ns of them: when one ended, or was due where it was never sent; example_message is what was said then
WITH endings AS (
  SELECT
    run,
    CAST(status AS VARCHAR) AS status,
    CAST(error_kind AS VARCHAR) AS error_kind,
    CAST(http_status AS BIGINT) AS http_status,
    error_message,
    regexp_replace(left(error_message, 200), '[0-9A-Za-z_-]*[0-9][0-9A-Za-z_-]*', '#', 'g') AS said,
    outcome_ns AS at_ns
  FROM measured
),
messages AS (
  SELECT
    run, status, error_kind, http_status,
    count(*) AS requests,
    min(at_ns) AS first_ns,
    first_value(error_message ORDER BY at_ns, error_message) AS example_message
  FROM endings
  GROUP BY run, status, error_kind, http_status, said
),
ranked AS (
  SELECT
    *,
    row_number() OVER (
      PARTITION BY run, status, error_kind, http_status ORDER BY first_ns, example_message
    ) AS place
  FROM messages
),
outcomes AS (
  SELECT
    run, status, error_kind, http_status,
    CAST(sum(requests) AS BIGINT) AS requests,
    min(first_ns) AS first_ns,
    first_value(example_message ORDER BY first_ns, example_message) AS example_message
  FROM ranked
  GROUP BY run, status, error_kind, http_status, least(place, 9)
)
SELECT
  o.run, o.status, o.error_kind, o.http_status,
  o.requests + CASE WHEN o.status = 'not_sent' THEN r.unwritten_requests ELSE 0 END AS requests,
  o.first_ns, o.example_message
FROM outcomes o
JOIN runs r ON r.run = o.run
ORDER BY r.run_index, o.status = 'ok' DESC, o.first_ns, requests DESC, o.status, o.error_kind, o.http_status
