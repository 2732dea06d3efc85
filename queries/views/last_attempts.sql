-- name: last_attempts
-- purpose: the key of the last attempt of each measured request
-- input: tape_requests
-- columns (unit): run, request_id, attempt
SELECT run, request_id, max(attempt) AS attempt
FROM tape_requests
WHERE phase = 'measure'
GROUP BY run, request_id
