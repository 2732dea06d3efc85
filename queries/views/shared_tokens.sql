-- name: shared_tokens
-- purpose: how much of each prompt requests before it had too, so that a prefix cache could have it
-- input: measured, runs
-- columns (unit): run, request_id, attempt, status, input_tokens (tokens), shared_tokens (tokens), usage_input_tokens (tokens), usage_cached_tokens (tokens)
-- notes: one row a measured request; shared_tokens is null where nobody knows
--   by the schedule: its prefix blocks, or what a data set says
--   of a later turn that is sent with what was said before it: the prompt of the last turn before it that was ok, and its answer where replies are live, as the server counted them
--   input_tokens are those that the schedule asks for; of such turns those that the server counted
-- The window stands before the join with runs: over a join, DataFusion 55 loses its order on one core.
WITH followed AS (
  SELECT
    q.*,
    lag(CASE WHEN status = 'ok' THEN coalesce(CAST(usage_input_tokens AS BIGINT), -1) END)
      IGNORE NULLS OVER earlier AS before_input_tokens,
    lag(CASE WHEN status = 'ok' THEN coalesce(CAST(usage_input_tokens AS BIGINT) + usage_output_tokens, -1) END)
      IGNORE NULLS OVER earlier AS before_all_tokens
  FROM measured q
  WINDOW earlier AS (PARTITION BY run, session_id ORDER BY turn, request_id)
),
known AS (
  SELECT
    f.run, f.request_id, f.attempt, f.status, f.turn, f.usage_input_tokens, f.usage_cached_tokens,
    f.input_tokens_planned, f.prefix_tokens_planned,
    r.session_replies IS NOT NULL AND f.turn IS NOT NULL AS is_turn,
    nullif(CASE WHEN r.session_replies = 'live' THEN f.before_all_tokens ELSE f.before_input_tokens END, -1) AS before_tokens
  FROM followed f
  JOIN runs r ON r.run = f.run
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
FROM known
