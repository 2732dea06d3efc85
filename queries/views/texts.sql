-- name: texts
-- purpose: the text of each chunk that has one, for whoever counts its tokens anew
-- input: chunks
-- columns (unit): run, request_id, attempt, seq, channel, text
-- notes: empty unless the tape was made with `--keep text`
SELECT run, request_id, attempt, seq, channel, text
FROM chunks
WHERE channel IN ('content', 'reasoning', 'tool') AND text IS NOT NULL
