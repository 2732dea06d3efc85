-- name: vllm
-- purpose: what `vllm bench serve` of vLLM 0.32.0 would say, had it made these requests
-- input: runs, measured, chunks, recounted_answers, definition_shape
-- columns (unit): run, metric, stat, rule, value, weight, lack, note
-- notes: ttft: from dispatch, connecting included, to the first event with choices: one with a role alone or an empty text counts too
--   itl: every gap between events with choices, the one with the finish reason included: of chunks, whatever tokens they bring
--   tpot: (e2el - ttft) / (output tokens - 1), where there are two or more: the first chunk is taken for one token
--   e2el: from dispatch to the last event with choices, which may bring no token
--   duration: from the start of the schedule to the last end, be it of a failure
--   completed: answers with status 200 that had an event with choices, also where an error came in the stream, or no token at all
--   failed: all other requests that were sent
--   input_tokens: the server's count, where it came in an event without choices, else what was planned
--   output_tokens: the server's count, where it came in an event without choices, else its tokenizer's of the content, reasoning left out
--   request_throughput: completed requests by duration
--   output_throughput: output tokens of completed requests by duration
--   total_throughput: input and output tokens of completed requests by duration
--   percentiles: numpy, linear between neighbours; std of the population; a latency without values is 0
WITH events AS (
  SELECT
    run, request_id, attempt, arrival_ns,
    lag(arrival_ns) OVER (PARTITION BY run, request_id, attempt ORDER BY seq) AS before_ns
  FROM chunks
  WHERE has_choices
),
streams AS (
  SELECT run, request_id, attempt, min(arrival_ns) AS first_ns, max(arrival_ns) AS last_ns
  FROM events
  GROUP BY run, request_id, attempt
),
usages AS (
  SELECT DISTINCT run, request_id, attempt FROM chunks WHERE channel = 'usage' AND NOT has_choices
),
calls AS (
  SELECT
    m.run, m.request_id, m.attempt, m.end_ns,
    m.status <> 'not_sent' AS is_sent,
    m.http_status = 200 AND (m.status = 'ok' OR m.error_kind IN ('in_stream', 'empty'))
      AND s.first_ns >= m.dispatched_ns AS is_ok,
    CAST(s.first_ns - m.dispatched_ns AS DOUBLE) AS ttft,
    CAST(s.last_ns - m.dispatched_ns AS DOUBLE) AS e2el,
    CAST(coalesce(
      CASE WHEN u.run IS NOT NULL THEN m.usage_input_tokens END, m.input_tokens_counted, m.input_tokens_planned
    ) AS DOUBLE) AS input_tokens,
    CAST(coalesce(
      CASE WHEN u.run IS NOT NULL THEN nullif(m.usage_output_tokens, 0) END, t.content_tokens
    ) AS DOUBLE) AS output_tokens
  FROM measured m
  LEFT JOIN streams s ON s.run = m.run AND s.request_id = m.request_id AND s.attempt = m.attempt
  LEFT JOIN usages u ON u.run = m.run AND u.request_id = m.request_id AND u.attempt = m.attempt
  LEFT JOIN recounted_answers t ON t.run = m.run AND t.request_id = m.request_id AND t.attempt = m.attempt
),
ok AS (SELECT * FROM calls WHERE is_ok),
samples AS (
  SELECT run, metric, value
  FROM (
    SELECT
      run,
      unnest(make_array('ttft', 'tpot', 'e2el')) AS metric,
      unnest(make_array(
        ttft, CASE WHEN output_tokens > 1 THEN (e2el - ttft) / (output_tokens - 1) END, e2el
      )) AS value
    FROM ok
  )
  WHERE value IS NOT NULL
  UNION ALL
  SELECT e.run, 'itl' AS metric, CAST(e.arrival_ns - e.before_ns AS DOUBLE) AS value
  FROM events e
  LEFT SEMI JOIN ok ON ok.run = e.run AND ok.request_id = e.request_id AND ok.attempt = e.attempt
  WHERE e.before_ns IS NOT NULL
),
totals AS (
  SELECT
    run,
    greatest(max(end_ns), 0) / 1e9 AS duration,
    CAST(count(*) FILTER (WHERE is_ok) AS DOUBLE) AS completed,
    CAST(count(*) FILTER (WHERE is_sent AND is_ok IS NOT TRUE) AS DOUBLE) AS failed,
    count(*) FILTER (WHERE is_ok AND output_tokens IS NULL) AS uncounted,
    CASE WHEN count(*) FILTER (WHERE is_ok AND input_tokens IS NULL) = 0
      THEN coalesce(sum(input_tokens) FILTER (WHERE is_ok), 0) END AS input_tokens,
    CASE WHEN count(*) FILTER (WHERE is_ok AND output_tokens IS NULL) = 0
      THEN coalesce(sum(output_tokens) FILTER (WHERE is_ok), 0) END AS output_tokens
  FROM calls
  GROUP BY run
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
  r.run, f.metric, f.stat, NULL, CASE WHEN f.stat <> 'run' THEN 0 END, NULL,
  CASE
    WHEN t.uncounted > 0 AND f.metric IN ('tpot', 'output_tokens', 'output_throughput', 'total_throughput')
    THEN 'not available: it would tokenize answers that have no usage'
  END,
  CASE WHEN f.stat <> 'run' THEN 'no values: it says 0' END
FROM runs r
CROSS JOIN definition_shape f
LEFT JOIN totals t ON t.run = r.run
WHERE f.metric NOT IN ('icl', 'ntpot', 'input_throughput') AND f.stat NOT IN ('min', 'max')
