-- name: requests
-- purpose: one row a measured request: its last attempt, with its latencies
-- input: attempts, last_attempts
-- columns (unit): those of `attempts`
SELECT a.*
FROM attempts a
LEFT SEMI JOIN last_attempts last
  ON last.run = a.run AND last.request_id = a.request_id AND last.attempt = a.attempt
