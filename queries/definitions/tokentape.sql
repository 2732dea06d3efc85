-- name: tokentape
-- purpose: tokentape's own numbers over the whole run, in the shape of the others' definitions
-- input: runs, requests, latencies, windows
-- columns (unit): run, metric, stat, unit, value, note
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
),
ranked AS (
  SELECT
    run, metric, value,
    CAST(row_number() OVER (PARTITION BY run, metric ORDER BY value) - 1 AS DOUBLE) AS place,
    CAST(count(*) OVER (PARTITION BY run, metric) - 1 AS DOUBLE) AS last_place
  FROM samples
),
statistics AS (
  SELECT
    run, metric,
    avg(value) AS mean,
    stddev_pop(value) AS std,
    min(value) AS min,
    sum(value * greatest(1 - abs(place - 0.5 * last_place), 0)) AS p50,
    sum(value * greatest(1 - abs(place - 0.9 * last_place), 0)) AS p90,
    sum(value * greatest(1 - abs(place - 0.95 * last_place), 0)) AS p95,
    sum(value * greatest(1 - abs(place - 0.99 * last_place), 0)) AS p99,
    max(value) AS max
  FROM ranked
  GROUP BY run, metric
),
answers AS (
  SELECT
    run, metric,
    unnest(make_array('mean', 'std', 'min', 'p50', 'p90', 'p95', 'p99', 'max')) AS stat,
    unnest(make_array(mean, std, min, p50, p90, p95, p99, max)) AS value
  FROM statistics
  UNION ALL
  SELECT
    run,
    unnest(make_array(
      'duration', 'completed', 'failed', 'input_tokens', 'output_tokens', 'request_throughput',
      'input_throughput', 'output_throughput', 'total_throughput'
    )) AS metric,
    'run' AS stat,
    unnest(make_array(
      duration, completed, failed, input_tokens, output_tokens, completed / nullif(duration, 0),
      input_tokens / nullif(duration, 0), output_tokens / nullif(duration, 0),
      (input_tokens + output_tokens) / nullif(duration, 0)
    )) AS value
  FROM totals
),
shape AS (
  SELECT m.metric, s.stat, 'ns' AS unit, m.place * 10 + s.place AS place
  FROM (VALUES ('ttft', 1), ('itl', 2), ('icl', 3), ('tpot', 4), ('e2el', 5)) m(metric, place)
  CROSS JOIN (VALUES
    ('mean', 1), ('std', 2), ('min', 3), ('p50', 4), ('p90', 5), ('p95', 6), ('p99', 7), ('max', 8)
  ) s(stat, place)
  UNION ALL
  SELECT metric, 'run' AS stat, unit, 100 + place AS place
  FROM (VALUES
    ('duration', 's', 1), ('completed', 'requests', 2), ('failed', 'requests', 3),
    ('input_tokens', 'tokens', 4), ('output_tokens', 'tokens', 5),
    ('request_throughput', 'requests/s', 6), ('input_throughput', 'tokens/s', 7),
    ('output_throughput', 'tokens/s', 8), ('total_throughput', 'tokens/s', 9)
  ) m(metric, unit, place)
)
SELECT
  r.run, s.metric, s.stat, s.unit,
  a.value AS value,
  CASE
    WHEN t.run IS NULL THEN 'no requests'
    WHEN a.value IS NULL THEN 'no values'
  END AS note
FROM runs r
CROSS JOIN shape s
LEFT JOIN totals t ON t.run = r.run
LEFT JOIN answers a ON a.run = r.run AND a.metric = s.metric AND a.stat = s.stat
ORDER BY r.run_index, s.place
