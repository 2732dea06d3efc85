-- name: waterfall
-- purpose: the life of single requests: the slowest ones, and a sample of all
-- input: requests, tape_requests, runs
-- columns (unit): run, picked (slowest or sample), place (from 1), request_id, intended_ns (ns), tried_ns (ns), sent_ns (ns), first_token_ns (ns), end_ns (ns), status, input_tokens (tokens), output_tokens (tokens)
-- notes: slowest are the 20 that took longest from the intended time to the last token or the end, failed ones too
--   the sample is every k-th of the requests in the order of their intended times, from the first on, at most 40
--   end_ns is when the request was answered (answered_ns), or when it ended without an answer; of measured requests that were sent
--   tried_ns is when the first of several attempts was sent, or was handed to the wire where nothing of it could be sent; all else is of the last one, and null stands where there was one alone
--   tokens are input_tokens and output_tokens of `requests`
WITH first_tries AS (
  SELECT run, request_id, coalesce(sent_ns, dispatched_ns) AS tried_ns
  FROM tape_requests
  WHERE phase = 'measure' AND attempt = 0
),
lives AS (
  SELECT
    q.run, q.request_id, q.intended_ns, q.sent_ns, q.first_token_ns, q.status, q.input_tokens, q.output_tokens,
    CASE WHEN q.attempt > 0 THEN f.tried_ns END AS tried_ns,
    coalesce(q.answered_ns, q.end_ns) AS end_ns
  FROM requests q
  LEFT JOIN first_tries f ON f.run = q.run AND f.request_id = q.request_id
  WHERE q.sent_ns IS NOT NULL AND coalesce(q.answered_ns, q.end_ns) IS NOT NULL
),
ranked AS (
  SELECT
    *,
    row_number() OVER (PARTITION BY run ORDER BY end_ns - intended_ns DESC, request_id) AS slowness,
    row_number() OVER (PARTITION BY run ORDER BY intended_ns, request_id) - 1 AS nth,
    count(*) OVER (PARTITION BY run) AS n
  FROM lives
),
picked AS (
  SELECT *, 'slowest' AS picked, slowness AS place FROM ranked WHERE slowness <= 20
  UNION ALL
  SELECT *, 'sample' AS picked, nth / ((n + 39) / 40) + 1 AS place FROM ranked WHERE nth % ((n + 39) / 40) = 0
)
SELECT
  p.run, p.picked, p.place, p.request_id, p.intended_ns, p.tried_ns, p.sent_ns, p.first_token_ns, p.end_ns,
  p.status, p.input_tokens, p.output_tokens
FROM picked p
JOIN runs r ON r.run = p.run
ORDER BY r.run_index, p.picked DESC, p.place
