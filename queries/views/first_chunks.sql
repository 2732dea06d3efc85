-- name: first_chunks
-- purpose: what the first token-bearing chunk of each attempt brought, and whether reasoning was streamed
-- input: chunks
-- columns (unit): run, request_id, attempt, first_chunk_tokens (tokens), first_chunk_source, has_reasoning
-- notes: the first token-bearing chunk is the one without a gap; its tokens are with those that came to be before it
--   first_chunk_source: usage, ids, or null where nobody tells and the chunk is taken for one token
SELECT
  run, request_id, attempt,
  max(CASE WHEN gap_ns IS NULL THEN tokens END) AS first_chunk_tokens,
  max(CASE WHEN gap_ns IS NULL AND tokens_source <> 'event' THEN tokens_source END) AS first_chunk_source,
  bool_or(channel = 'reasoning') AS has_reasoning
FROM chunks
WHERE is_token_bearing AND (gap_ns IS NULL OR channel = 'reasoning')
GROUP BY run, request_id, attempt
