-- name: token_counts
-- purpose: whether prompts and answers had the lengths that were asked for
-- input: requests, runs
-- columns (unit): run, input_planned (tokens), input_got (tokens), output_planned (tokens), output_got (tokens), input_exact (share), output_exact (share)
-- notes: of the ok requests; each sum and share covers those where both counts are known
WITH counts AS (
  SELECT
    run,
    sum(CAST(input_tokens_planned AS BIGINT)) FILTER (WHERE input_tokens IS NOT NULL) AS input_planned,
    sum(input_tokens) FILTER (WHERE input_tokens_planned IS NOT NULL) AS input_got,
    sum(CAST(output_tokens_planned AS BIGINT)) FILTER (WHERE output_tokens IS NOT NULL) AS output_planned,
    sum(output_tokens) FILTER (WHERE output_tokens_planned IS NOT NULL) AS output_got,
    avg(CASE WHEN input_tokens = input_tokens_planned THEN 1.0 WHEN input_tokens <> input_tokens_planned THEN 0.0 END)
      AS input_exact,
    avg(CASE WHEN output_tokens = output_tokens_planned THEN 1.0 WHEN output_tokens <> output_tokens_planned THEN 0.0 END)
      AS output_exact
  FROM requests
  WHERE status = 'ok'
  GROUP BY run
)
SELECT c.*
FROM counts c
JOIN runs r ON r.run = c.run
ORDER BY r.run_index
