-- name: tokens
-- purpose: one row an inter-token time, under the policy `arrival`
-- input: chunks
-- columns (unit): run, request_id, attempt, seq, token (position in its chunk, from 1), arrival_ns (ns), arrival_utc, itl_ns (ns), is_resolved
-- notes: a later chunk of k tokens gives its gap once and k-1 zeros; the first chunk gives none
--   is_resolved: both chunks of the gap came alone in their read, among token-bearing ones; null where the wire can't tell
--   a gap below zero is no gap: it is left out
WITH bearing AS (
  SELECT
    run, request_id, attempt, seq, arrival_ns, arrival_utc, gap_ns, tokens, read_seq,
    lag(read_seq, 1) OVER stream AS read_before,
    lag(read_seq, 2) OVER stream AS read_before_that,
    lead(read_seq, 1) OVER stream AS read_after
  FROM chunks
  WHERE is_token_bearing
  WINDOW stream AS (PARTITION BY run, request_id, attempt ORDER BY seq)
)
SELECT
  run, request_id, attempt, seq, CAST(1 AS BIGINT) AS token, arrival_ns, arrival_utc, gap_ns AS itl_ns,
  read_seq <> read_before
    AND (read_before_that IS NULL OR read_before_that <> read_before)
    AND (read_after IS NULL OR read_after <> read_seq) AS is_resolved
FROM bearing
WHERE gap_ns >= 0
UNION ALL
SELECT
  run, request_id, attempt, seq, unnest(range(2, tokens + 1)) AS token, arrival_ns, arrival_utc,
  CAST(0 AS BIGINT) AS itl_ns,
  CASE WHEN read_seq IS NOT NULL THEN false END AS is_resolved
FROM (
  SELECT run, request_id, attempt, seq, arrival_ns, arrival_utc, read_seq, CAST(tokens AS BIGINT) AS tokens
  FROM chunks
  WHERE is_token_bearing AND gap_ns >= 0 AND tokens > 1
)
