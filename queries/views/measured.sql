-- name: measured
-- purpose: the last attempt of each measured request, as the tape has it, without anything that needs its chunks
-- input: timed_requests, last_attempts
-- columns (unit): those of `timed_requests`
-- notes: what other queries join with when `requests` would be more than they need
SELECT r.*
FROM timed_requests r
LEFT SEMI JOIN last_attempts last
  ON last.run = r.run AND last.request_id = r.request_id AND last.attempt = r.attempt
