-- name: token_arrivals
-- purpose: when output tokens came: one row a token-bearing chunk, weighted so that a request's sum is its output_tokens
-- input: chunks, requests
-- columns (unit): run, request_id, attempt, arrival_ns (ns), tokens (tokens)
-- notes: what every rate, peak and chart of output tokens counts; tokens is null where a request's output_tokens are unknown
--   a chunk's own count is its share of the request, 1 where it has none; chunks that all count 0 share alike
--   an ok answer without a token-bearing chunk gives its tokens when it ends
WITH bearing AS (
  SELECT run, request_id, attempt, arrival_ns, CAST(coalesce(tokens, 1) AS DOUBLE) AS tokens
  FROM chunks
  WHERE is_token_bearing
),
streams AS (
  SELECT run, request_id, attempt, sum(tokens) AS tokens, count(*) AS chunks
  FROM bearing
  GROUP BY run, request_id, attempt
),
answers AS (
  SELECT q.run, q.request_id, q.attempt, q.status, q.end_ns, q.output_tokens, s.tokens, s.chunks
  FROM requests q
  LEFT JOIN streams s ON s.run = q.run AND s.request_id = q.request_id AND s.attempt = q.attempt
)
SELECT
  b.run, b.request_id, b.attempt, b.arrival_ns,
  a.output_tokens * CASE WHEN a.tokens > 0 THEN b.tokens / a.tokens ELSE 1.0 / a.chunks END AS tokens
FROM bearing b
JOIN answers a ON a.run = b.run AND a.request_id = b.request_id AND a.attempt = b.attempt
UNION ALL
SELECT run, request_id, attempt, end_ns AS arrival_ns, CAST(output_tokens AS DOUBLE) AS tokens
FROM answers
WHERE chunks IS NULL AND status = 'ok' AND end_ns IS NOT NULL
