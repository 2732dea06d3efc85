-- name: covered
-- purpose: the key of each request that statistics of latency cover
-- input: measured, runs
-- columns (unit): run, request_id, attempt
-- notes: the measured requests that were ok; where a window was asked for (`--from`, `--to`) only those that were due in it, both ends included
SELECT m.run, m.request_id, m.attempt
FROM measured m
JOIN runs r ON r.run = m.run
WHERE m.status = 'ok'
  AND (r.window_from_ns IS NULL OR m.intended_ns >= r.window_from_ns)
  AND (r.window_to_ns IS NULL OR m.intended_ns <= r.window_to_ns)
