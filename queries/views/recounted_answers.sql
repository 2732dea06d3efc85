-- name: recounted_answers
-- purpose: tokens of each answer whose text was kept, counted anew with a tokenizer
-- input: tape_recounts
-- columns (unit): run, request_id, attempt, content_tokens (tokens), answer_tokens (tokens), reasoning_tokens (tokens), text_tokens (tokens)
-- notes: empty unless the analysis was given a tokenizer
--   content is what the answer says, answer is that with the tool calls in it, text is content and reasoning in the order in which they came; each is counted as one text
SELECT run, request_id, attempt, content_tokens, answer_tokens, reasoning_tokens, text_tokens
FROM tape_recounts
