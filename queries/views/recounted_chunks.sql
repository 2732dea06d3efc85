-- name: recounted_chunks
-- purpose: tokens of each chunk whose text was kept, counted anew with a tokenizer, each by itself
-- input: tape_recounted_chunks
-- columns (unit): run, request_id, attempt, seq, tokens (tokens)
-- notes: empty unless the analysis was given a tokenizer
--   chunks counted apart add up to more than their text does, where a token lies across two of them
SELECT * FROM tape_recounted_chunks
