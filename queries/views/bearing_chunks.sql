-- name: bearing_chunks
-- purpose: one row a token-bearing chunk, with whether its gap is resolved
-- input: chunks
-- columns (unit): run, request_id, attempt, seq, arrival_ns (ns), arrival_utc, gap_ns (ns), tokens (tokens), read_seq, is_resolved
-- notes: is_resolved: both chunks of the gap came alone in their read, among token-bearing ones; null on a first chunk, and where the wire can't tell
WITH neighbours AS (
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
  run, request_id, attempt, seq, arrival_ns, arrival_utc, gap_ns, tokens, read_seq,
  read_seq <> read_before
    AND (read_before_that IS NULL OR read_before_that <> read_before)
    AND (read_after IS NULL OR read_after <> read_seq) AS is_resolved
FROM neighbours
