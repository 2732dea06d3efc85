-- name: timed_requests
-- purpose: every attempt as the tape has it, with when its answer began, when it was answered, and when its outcome was known
-- input: tape_requests
-- columns (unit): those of the table `requests`, and begun_ns (ns), answered_ns (ns), outcome_ns (ns)
-- notes: the one place where these are defined; they need no chunks
--   begun_ns is the first token-bearing event; of an ok answer without one the end
--   answered_ns is the last token-bearing event; of an ok answer without one the end; so a failed request that streamed nothing was never answered
--   outcome_ns is for what counts outcomes rather than answers: the end, else the last token-bearing event, else when it was due
SELECT
  *,
  coalesce(first_token_ns, CASE WHEN status = 'ok' THEN end_ns END) AS begun_ns,
  coalesce(last_token_ns, CASE WHEN status = 'ok' THEN end_ns END) AS answered_ns,
  coalesce(end_ns, last_token_ns, intended_ns) AS outcome_ns
FROM tape_requests
