-- name: tokens
-- purpose: one row an inter-token time, under the policy `arrival`
-- input: bearing_chunks
-- columns (unit): run, request_id, attempt, seq, token (position in its chunk, from 1), arrival_ns (ns), arrival_utc, itl_ns (ns), is_resolved
-- notes: a later chunk of k tokens gives its gap once and k-1 zeros; the first chunk gives none
--   is_resolved: both chunks of the gap came alone in their read, among token-bearing ones; null where the wire can't tell
--   a gap below zero is no gap: it is left out
SELECT
  run, request_id, attempt, seq, CAST(1 AS BIGINT) AS token, arrival_ns, arrival_utc, gap_ns AS itl_ns, is_resolved
FROM bearing_chunks
WHERE gap_ns >= 0
UNION ALL
SELECT
  run, request_id, attempt, seq, unnest(range(2, tokens + 1)) AS token, arrival_ns, arrival_utc,
  CAST(0 AS BIGINT) AS itl_ns,
  CASE WHEN read_seq IS NOT NULL THEN false END AS is_resolved
FROM (
  SELECT run, request_id, attempt, seq, arrival_ns, arrival_utc, read_seq, CAST(tokens AS BIGINT) AS tokens
  FROM bearing_chunks
  WHERE gap_ns >= 0 AND tokens > 1
)
