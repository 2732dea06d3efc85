-- name: failed_attempts
-- purpose: attempts that failed, and what became of their requests
-- input: tape_requests, runs
-- columns (unit): run, target, http_status, error_kind, attempts (attempts), requests (requests), later_ok (requests)
-- notes: attempts that ended as error or timeout at measured requests, the last ones too; of runs in which a request took more than one attempt
--   later_ok are those of the requests that succeeded by a later attempt; target is null where there is one server
WITH retried AS (
  SELECT run FROM tape_requests WHERE phase = 'measure' AND attempt > 0 GROUP BY run
),
tried AS (
  SELECT
    t.run, t.request_id, t.attempt,
    CAST(t.target AS VARCHAR) AS target,
    CAST(t.http_status AS BIGINT) AS http_status,
    CAST(t.error_kind AS VARCHAR) AS error_kind,
    CAST(t.status AS VARCHAR) AS status
  FROM tape_requests t
  LEFT SEMI JOIN retried r ON r.run = t.run
  WHERE t.phase = 'measure'
),
answered AS (
  SELECT run, request_id, max(attempt) AS attempt FROM tried WHERE status = 'ok' GROUP BY run, request_id
),
by_request AS (
  SELECT
    t.run, t.request_id, t.target, t.http_status, t.error_kind,
    count(*) AS attempts,
    max(CASE WHEN a.attempt > t.attempt THEN 1 ELSE 0 END) AS later_ok
  FROM tried t
  LEFT JOIN answered a ON a.run = t.run AND a.request_id = t.request_id
  WHERE t.status IN ('error', 'timeout')
  GROUP BY t.run, t.request_id, t.target, t.http_status, t.error_kind
),
counted AS (
  SELECT
    run, target, http_status, error_kind,
    CAST(sum(attempts) AS BIGINT) AS attempts,
    count(*) AS requests,
    CAST(sum(later_ok) AS BIGINT) AS later_ok
  FROM by_request
  GROUP BY run, target, http_status, error_kind
)
SELECT c.run, c.target, c.http_status, c.error_kind, c.attempts, c.requests, c.later_ok
FROM counted c
JOIN runs r ON r.run = c.run
ORDER BY r.run_index, c.attempts DESC, c.target, c.http_status, c.error_kind
