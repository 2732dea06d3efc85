-- name: errors_over_time
-- purpose: when attempts failed, and how
-- input: timed_requests, last_attempts, run_spans, runs
-- columns (unit): run, at_ns (ns), width_ns (ns), status, error_kind, http_status, attempts (attempts), retried (attempts)
-- notes: of all attempts at measured requests that were not ok, by when their outcome was known (outcome_ns: their end, or when they were due where they were never sent), but for those that the client hung up on; in the bins of the charts over time, of which those without a failure are left out
--   retried are those of them that were followed by another attempt; the others are the failures of requests that requests_by_outcome has
WITH placed AS (
  SELECT
    t.run, s.width_ns,
    CAST(floor(t.outcome_ns / CAST(s.width_ns AS DOUBLE)) AS BIGINT) * s.width_ns AS at_ns,
    CAST(t.status AS VARCHAR) AS status,
    CAST(t.error_kind AS VARCHAR) AS error_kind,
    CAST(t.http_status AS BIGINT) AS http_status,
    l.attempt > t.attempt AS is_retried
  FROM timed_requests t
  JOIN last_attempts l ON l.run = t.run AND l.request_id = t.request_id
  JOIN run_spans s ON s.run = t.run
  WHERE t.phase = 'measure' AND t.status <> 'ok' AND t.error_kind IS DISTINCT FROM 'hung_up'
)
SELECT
  p.run, p.at_ns, p.width_ns, p.status, p.error_kind, p.http_status,
  count(*) AS attempts,
  count(*) FILTER (WHERE p.is_retried) AS retried
FROM placed p
JOIN runs r ON r.run = p.run
GROUP BY r.run_index, p.run, p.at_ns, p.width_ns, p.status, p.error_kind, p.http_status
ORDER BY r.run_index, p.at_ns, p.status, p.error_kind, p.http_status
