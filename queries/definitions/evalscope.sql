-- name: evalscope
-- purpose: what `evalscope perf` of EvalScope 1.14.1 would say, had it made these requests
-- input: runs, measured, chunks, recounted_answers, definition_shape
-- columns (unit): run, metric, stat, rule, value, weight, lack, note
-- notes: ttft: from dispatch, connecting included, to the first event with content, reasoning or a tool call; 0 for an answer without any
--   itl: every gap between such events: of chunks, whatever tokens they bring
--   tpot: (e2el - ttft) / (output tokens - 1), where there are two or more: the finish and usage events are in it
--   e2el: from dispatch to the last event that is JSON, which is the one with the usage
--   duration: from the first dispatch to the last such event of any request, or to its end where it failed outside a stream
--   completed: answers with status 200 without an error in the stream
--   failed: all other requests that were sent
--   input_tokens: the server's count, else its tokenizer's
--   output_tokens: the server's count, else its tokenizer's of content and reasoning
--   request_throughput: completed requests by duration
--   output_throughput: output tokens of completed requests by duration
--   total_throughput: input and output tokens of completed requests by duration
--   percentiles: nearest rank, so each is a value that occurred, rounded to four decimals there; those of tpot, least and greatest too, leave out 0; no std; the mean of no itl or tpot is 0
WITH events AS (
  SELECT
    run, request_id, attempt, arrival_ns,
    lag(arrival_ns) OVER (PARTITION BY run, request_id, attempt ORDER BY seq) AS before_ns
  FROM chunks
  WHERE channel IN ('content', 'reasoning', 'tool')
),
firsts AS (
  SELECT run, request_id, attempt, min(arrival_ns) AS first_ns FROM events GROUP BY run, request_id, attempt
),
streams AS (
  SELECT run, request_id, attempt, max(arrival_ns) AS last_ns
  FROM chunks
  WHERE channel NOT IN ('done', 'comment')
  GROUP BY run, request_id, attempt
),
calls AS (
  SELECT
    m.run, m.request_id, m.attempt, m.dispatched_ns,
    m.status <> 'not_sent' AS is_sent,
    m.http_status = 200 AND (m.status = 'ok' OR m.error_kind = 'empty')
      AND coalesce(s.last_ns, m.dispatched_ns) >= m.dispatched_ns AS is_ok,
    coalesce(s.last_ns, m.end_ns) AS completed_ns,
    coalesce(CAST(f.first_ns - m.dispatched_ns AS DOUBLE), 0) AS ttft,
    coalesce(CAST(s.last_ns - m.dispatched_ns AS DOUBLE), 0) AS e2el,
    CAST(coalesce(m.usage_input_tokens, m.input_tokens_counted) AS DOUBLE) AS input_tokens,
    CAST(coalesce(m.usage_output_tokens, t.text_tokens) AS DOUBLE) AS output_tokens
  FROM measured m
  LEFT JOIN streams s ON s.run = m.run AND s.request_id = m.request_id AND s.attempt = m.attempt
  LEFT JOIN firsts f ON f.run = m.run AND f.request_id = m.request_id AND f.attempt = m.attempt
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
    (max(completed_ns) FILTER (WHERE is_sent AND completed_ns >= dispatched_ns)
      - min(dispatched_ns) FILTER (WHERE is_sent AND completed_ns >= dispatched_ns)) / 1e9 AS duration,
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
SELECT
  run, metric, NULL AS stat, 'nearest' AS rule, value,
  CASE WHEN metric = 'tpot' AND value <= 0 THEN 0 ELSE 1 END AS weight, NULL AS lack, NULL AS note
FROM samples
UNION ALL
SELECT
  run, unnest(make_array('duration', 'completed', 'failed', 'input_tokens', 'output_tokens')), 'run', 'run',
  unnest(make_array(duration, completed, failed, input_tokens, output_tokens)), NULL, NULL, NULL
FROM totals
UNION ALL
SELECT
  r.run, f.metric, f.stat, NULL, CASE WHEN f.stat = 'mean' AND f.metric IN ('itl', 'tpot') AND t.completed > 0 THEN 0 END, NULL,
  CASE
    WHEN t.uncounted > 0 AND f.metric IN ('tpot', 'output_tokens', 'output_throughput', 'total_throughput')
    THEN 'not available: of answers without usage it takes the count of its tokenizer, or stops where it has none'
    WHEN t.input_tokens IS NULL AND f.metric IN ('input_tokens', 'total_throughput')
    THEN 'not available: it would tokenize prompts that have no usage'
  END,
  CASE
    WHEN f.stat = 'mean' AND f.metric IN ('itl', 'tpot') AND t.completed > 0 THEN 'no values: it says 0'
    ELSE 'no values'
  END
FROM runs r
CROSS JOIN definition_shape f
LEFT JOIN totals t ON t.run = r.run
WHERE f.metric NOT IN ('icl', 'ntpot', 'input_throughput') AND f.stat <> 'std'
