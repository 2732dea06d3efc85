-- name: chunks
-- purpose: one row a streamed event; a chunk is not a token
-- input: tape_chunks
-- columns (unit): those of the table `chunks`, arrival_utc, and is_token_bearing
SELECT
  *,
  channel IN ('content', 'reasoning', 'tool', 'refusal', 'audio') AS is_token_bearing
FROM tape_chunks
