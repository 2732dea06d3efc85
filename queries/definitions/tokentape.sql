-- name: tokentape
-- purpose: tokentape's own numbers over the whole run, in the shape of the others' definitions
-- input: runs, requests, latencies, windows, definition_shape
-- columns (unit): run, metric, stat, rule, value, weight, lack, note
-- notes: ttft: from the send, connecting left out, to the first event that carries a token: content, reasoning, a tool call, a refusal or audio
--   itl: every gap between tokens: a later chunk of k tokens gives its gap once and k - 1 zeros, the first chunk gives none
--   icl: every gap between chunks that carry tokens
--   tpot: (last token - first token) / (output tokens - tokens of the first chunk), where the second is more than 0
--   e2el: from the send to the last event that carries a token
--   duration: from the first send to the last end of a request
--   completed: answers in order: with a token, and with a finish reason or an end mark
--   failed: errors, limits on time that ran out, and requests that were cut off
--   input_tokens: the server's count, else our tokenizer's, of every request whose first token came
--   output_tokens: the server's count, else our tokenizer's, else the number of chunks, also of requests that failed later
--   request_throughput: completed requests by duration
--   input_throughput: input tokens by duration
--   output_throughput: output tokens by duration
--   total_throughput: input and output tokens by duration
--   percentiles: linear between neighbours; std of the population
WITH samples AS (
  SELECT run, metric, value_ns AS value FROM latencies WHERE metric IN ('ttft', 'itl', 'icl', 'tpot', 'e2el')
),
sums AS (
  SELECT
    run,
    CAST(count(*) FILTER (WHERE status = 'ok') AS DOUBLE) AS completed,
    CAST(count(*) FILTER (WHERE status IN ('error', 'timeout', 'interrupted')) AS DOUBLE) AS failed,
    CAST(coalesce(sum(input_tokens) FILTER (WHERE begun_ns IS NOT NULL), 0) AS DOUBLE) AS input_tokens,
    CAST(coalesce(sum(output_tokens) FILTER (WHERE begun_ns IS NOT NULL), 0) AS DOUBLE) AS output_tokens
  FROM requests
  GROUP BY run
),
totals AS (
  SELECT s.*, w.seconds AS duration
  FROM sums s
  JOIN windows w ON w.run = s.run
  WHERE w.window_name = 'run'
)
SELECT run, metric, NULL AS stat, 'linear' AS rule, value, 1 AS weight, NULL AS lack, NULL AS note
FROM samples
UNION ALL
SELECT
  run, unnest(make_array('duration', 'completed', 'failed', 'input_tokens', 'output_tokens')), 'run', 'run',
  unnest(make_array(duration, completed, failed, input_tokens, output_tokens)), NULL, NULL, NULL
FROM totals
UNION ALL
SELECT
  r.run, f.metric, f.stat, NULL, NULL, NULL, NULL, 'no values'
FROM runs r
CROSS JOIN definition_shape f
WHERE f.metric <> 'ntpot'
