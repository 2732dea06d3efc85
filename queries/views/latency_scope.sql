-- name: latency_scope
-- purpose: the key of each request that statistics of latency cover
-- input: measured, runs, warmups
-- columns (unit): run, request_id, attempt
-- notes: the measured requests that were ok; where a window was asked for (`--from`, `--to`) only those that were due in it, both ends included, and where a warm-up was (`--warmup`) only those that were due from its end on
--   without either, every request that was ok: also the first ones of a closed loop, which are due before all of its slots are busy
SELECT m.run, m.request_id, m.attempt
FROM measured m
JOIN runs r ON r.run = m.run
JOIN warmups w ON w.run = m.run
WHERE m.status = 'ok'
  AND (r.window_from_ns IS NULL OR m.intended_ns >= r.window_from_ns)
  AND (r.window_to_ns IS NULL OR m.intended_ns <= r.window_to_ns)
  AND (w.warmup_ns <= 0 OR m.intended_ns >= w.warmup_ns)
