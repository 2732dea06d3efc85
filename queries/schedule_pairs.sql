-- name: schedule_pairs
-- purpose: whether each run sent the same requests at the same times as the first run
-- input: measured, runs
-- columns (unit): run, requests (requests), baseline_requests (requests), matched (requests), is_pair
-- notes: a request matches where its number, its intended time and the lengths that were asked for are those of the first run's
--   99 % of both runs' requests must match, since an interrupted run lacks its last ones; a closed loop has no schedule, and no pairs
WITH baseline AS (
  SELECT m.request_id, m.intended_ns, m.input_tokens_planned, m.output_tokens_planned
  FROM measured m
  JOIN runs r ON r.run = m.run
  WHERE r.run_index = 0
),
counted AS (
  SELECT m.run, count(*) AS requests, count(b.request_id) AS matched
  FROM measured m
  LEFT JOIN baseline b
    ON b.request_id = m.request_id
    AND b.intended_ns = m.intended_ns
    AND (b.input_tokens_planned IS NOT DISTINCT FROM m.input_tokens_planned)
    AND (b.output_tokens_planned IS NOT DISTINCT FROM m.output_tokens_planned)
  GROUP BY m.run
),
whole AS (
  SELECT count(*) AS requests FROM baseline
)
SELECT
  r.run,
  coalesce(c.requests, 0) AS requests,
  w.requests AS baseline_requests,
  coalesce(c.matched, 0) AS matched,
  r.loop = 'open' AND coalesce(c.matched, 0) > 0
    AND c.matched >= 0.99 * greatest(c.requests, w.requests) AS is_pair
FROM runs r
CROSS JOIN whole w
LEFT JOIN counted c ON c.run = r.run
WHERE r.run_index > 0
ORDER BY r.run_index
