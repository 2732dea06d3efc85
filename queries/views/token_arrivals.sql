-- name: token_arrivals
-- purpose: when output tokens came: one row a token-bearing chunk, weighted so that a request's sum is its output_tokens
-- input: token_chunks, first_chunks, requests, run_spans
-- columns (unit): run, request_id, attempt, arrival_ns (ns), tokens (tokens), time_bin (position in time, of the width of run_spans)
-- notes: what every rate, peak and chart of output tokens counts; tokens is null where a request's output_tokens are unknown
--   an ok answer without a token-bearing chunk gives its tokens when it ends
SELECT run, request_id, attempt, arrival_ns, output_tokens AS tokens, time_bin
FROM token_chunks
UNION ALL
SELECT
  q.run, q.request_id, q.attempt, q.end_ns AS arrival_ns, CAST(q.output_tokens AS DOUBLE) AS tokens,
  CAST(floor(q.end_ns / CAST(s.width_ns AS DOUBLE)) AS BIGINT) AS time_bin
FROM requests q
JOIN run_spans s ON s.run = q.run
LEFT ANTI JOIN first_chunks f ON f.run = q.run AND f.request_id = q.request_id AND f.attempt = q.attempt
WHERE q.status = 'ok' AND q.end_ns IS NOT NULL
