-- name: token_chunks
-- purpose: one row a token-bearing chunk of each measured request, with its gap and its share of the request's output tokens
-- input: bearing_chunks, chunks, requests, latency_scope, run_spans, block_grid
-- columns (unit): run, request_id, attempt, arrival_ns (ns), gap_ns (ns), tokens (tokens), is_resolved, output_tokens (tokens), is_ok, is_in_scope, time_bin (position in time, of the width of run_spans), block (position in time, of the width of block_grid)
-- notes: what everything that counts tokens or gaps reads; an analysis computes it once
--   gap_ns is null on a first chunk, and where it would be below zero; tokens are those that the chunk says, at least 1
--   output_tokens is weighted so that a request's sum is its output_tokens, null where these are unknown: a chunk's own count is its share, 1 where it has none; chunks that all count 0 share alike
--   is_ok is of the request; is_in_scope says that it is in latency_scope
--   time_bin and block are those of the arrival; before and after the window of block_grid there are blocks of the same length, at most as many to either side; block is null where nothing has a length
WITH spans AS (
  SELECT s.run, CAST(s.width_ns AS DOUBLE) AS bin_ns, g.from_ns, g.width_ns AS block_ns, g.blocks
  FROM run_spans s
  LEFT JOIN block_grid g ON g.run = s.run
),
streams AS (
  SELECT run, request_id, attempt, CAST(sum(coalesce(tokens, 1)) AS DOUBLE) AS tokens, count(*) AS chunks
  FROM chunks
  WHERE is_token_bearing
  GROUP BY run, request_id, attempt
),
answers AS (
  SELECT
    q.run, q.request_id, q.attempt, q.status = 'ok' AS is_ok, q.output_tokens, s.tokens, s.chunks,
    k.request_id IS NOT NULL AS is_in_scope, w.bin_ns, w.from_ns, w.block_ns, w.blocks
  FROM requests q
  JOIN spans w ON w.run = q.run
  JOIN streams s ON s.run = q.run AND s.request_id = q.request_id AND s.attempt = q.attempt
  LEFT JOIN latency_scope k ON k.run = q.run AND k.request_id = q.request_id AND k.attempt = q.attempt
)
SELECT
  b.run, b.request_id, b.attempt, b.arrival_ns,
  CASE WHEN b.gap_ns >= 0 THEN b.gap_ns END AS gap_ns,
  greatest(coalesce(CAST(b.tokens AS BIGINT), 1), 1) AS tokens,
  b.is_resolved,
  a.output_tokens * CASE WHEN a.tokens > 0 THEN coalesce(b.tokens, 1) / a.tokens ELSE 1.0 / a.chunks END AS output_tokens,
  a.is_ok, a.is_in_scope,
  CAST(floor(b.arrival_ns / a.bin_ns) AS BIGINT) AS time_bin,
  CAST(least(greatest(floor((b.arrival_ns - a.from_ns) / a.block_ns), -a.blocks), 2 * a.blocks - 1) AS BIGINT) AS block
FROM answers a
JOIN bearing_chunks b ON b.run = a.run AND b.request_id = a.request_id AND b.attempt = a.attempt
