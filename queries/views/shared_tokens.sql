-- name: shared_tokens
-- purpose: how much of each prompt requests before it had too, so that a prefix cache could have it
-- input: measured, runs
-- columns (unit): run, request_id, attempt, status, input_tokens (tokens), shared_tokens (tokens), usage_input_tokens (tokens), usage_cached_tokens (tokens)
-- notes: one row a measured request; shared_tokens is null where nobody knows
--   by the schedule: its prefix blocks, or what a data set says
--   of a later turn that is sent with what was said before it: the prompt of the last turn before it that was ok, and its answer where replies are live, as the server counted them
--   input_tokens are those that the schedule asks for; of such turns those that the server counted
WITH followed AS (
  SELECT
    q.run, q.request_id, q.attempt, q.status, q.turn, q.usage_input_tokens, q.usage_cached_tokens,
    q.input_tokens_planned, q.prefix_tokens_planned,
    r.session_replies IS NOT NULL AND q.turn IS NOT NULL AS is_turn,
    nullif(lag(CASE
      WHEN q.status <> 'ok' THEN NULL
      WHEN r.session_replies = 'live' THEN coalesce(CAST(q.usage_input_tokens AS BIGINT) + q.usage_output_tokens, -1)
      ELSE coalesce(CAST(q.usage_input_tokens AS BIGINT), -1)
    END) IGNORE NULLS OVER (PARTITION BY q.run, q.session_id ORDER BY q.turn, q.request_id), -1) AS before_tokens
  FROM measured q
  JOIN runs r ON r.run = q.run
)
SELECT
  run, request_id, attempt, status,
  CAST(CASE WHEN is_turn THEN usage_input_tokens ELSE input_tokens_planned END AS BIGINT) AS input_tokens,
  CASE
    WHEN is_turn AND turn > 0 AND before_tokens > usage_input_tokens THEN CAST(usage_input_tokens AS BIGINT)
    WHEN is_turn AND turn > 0 THEN before_tokens
    ELSE CAST(prefix_tokens_planned AS BIGINT)
  END AS shared_tokens,
  usage_input_tokens, usage_cached_tokens
FROM followed
