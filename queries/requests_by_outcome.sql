-- name: requests_by_outcome
-- purpose: how the measured requests ended, the ok ones first
-- input: measured, runs
-- columns (unit): run, status, error_kind, http_status, requests (requests), example_message
-- notes: not_sent counts those as well that have no row (unwritten_requests of runs)
WITH outcomes AS (
  SELECT
    run,
    CAST(status AS VARCHAR) AS status,
    CAST(error_kind AS VARCHAR) AS error_kind,
    CAST(http_status AS BIGINT) AS http_status,
    count(*) AS requests,
    min(error_message) AS example_message
  FROM measured
  GROUP BY run, status, error_kind, http_status
)
SELECT
  o.* EXCEPT (requests, example_message),
  o.requests + CASE WHEN o.status = 'not_sent' THEN r.unwritten_requests ELSE 0 END AS requests,
  o.example_message
FROM outcomes o
JOIN runs r ON r.run = o.run
ORDER BY r.run_index, o.status = 'ok' DESC, requests DESC, o.status, o.error_kind, o.http_status
