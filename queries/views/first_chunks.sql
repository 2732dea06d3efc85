-- name: first_chunks
-- purpose: what the first token-bearing chunk of each attempt brought, and whether reasoning was streamed
-- input: tape_chunks
-- columns (unit): run, request_id, attempt, first_chunk_tokens (tokens), has_reasoning
-- notes: the first token-bearing chunk is the one without a gap
SELECT
  run, request_id, attempt,
  max(CASE WHEN gap_ns IS NULL THEN coalesce(CAST(tokens AS BIGINT), 1) END) AS first_chunk_tokens,
  bool_or(channel = 'reasoning') AS has_reasoning
FROM tape_chunks
WHERE channel IN ('content', 'reasoning', 'tool', 'refusal', 'audio')
  AND (gap_ns IS NULL OR channel = 'reasoning')
GROUP BY run, request_id, attempt
