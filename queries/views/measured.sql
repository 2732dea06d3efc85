-- name: measured
-- purpose: the last attempt of each measured request, as the tape has it, without anything that needs its chunks
-- input: tape_requests, last_attempts
-- columns (unit): those of the table `requests`
-- notes: what other queries join with when `requests` would be more than they need
SELECT r.*
FROM tape_requests r
LEFT SEMI JOIN last_attempts last
  ON last.run = r.run AND last.request_id = r.request_id AND last.attempt = r.attempt
