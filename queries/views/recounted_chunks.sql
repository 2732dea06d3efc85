-- name: recounted_chunks
-- purpose: tokens of each chunk whose text was kept, counted anew with a tokenizer, each by itself
-- input: tape_recounts
-- columns (unit): run, request_id, attempt, seq, tokens (tokens)
-- notes: empty unless the analysis was given a tokenizer
--   chunks counted apart add up to more than their text does, where a token lies across two of them
SELECT run, request_id, attempt, CAST(seq AS BIGINT) AS seq, CAST(tokens AS BIGINT) AS tokens
FROM (
  SELECT run, request_id, attempt, unnest(seqs) AS seq, unnest(chunk_tokens) AS tokens FROM tape_recounts
)
