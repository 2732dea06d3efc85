-- name: genai-bench
-- purpose: what genai-bench 0.0.5 would say, had it made these requests
-- input: runs, measured, chunks, recounted_answers, definition_shape
-- columns (unit): run, metric, stat, rule, value, weight, lack, note
-- notes: ttft: from dispatch, connecting included, to the first event with content or reasoning, else to a usage event that counts two tokens or more
--   tpot: (e2el - ttft) / (output tokens - 1), where there are two or more and at least 1 ms passed: the usage event is in it
--   e2el: from dispatch to the usage event after the finish reason, else to the end mark, else to the end of the stream
--   duration: from the start of the schedule to the last end; its own is of its load generator, which looks once a second
--   completed: answers with status 200, without an error in the stream, that have a ttft; an answer without one is not even counted as failed
--   failed: answers with another status or an error in the stream, and connections that failed
--   input_tokens: the server's count, else what was planned
--   output_tokens: the server's count, else its tokenizer's of content and, where an event has none, reasoning
--   request_throughput: completed requests by duration
--   input_throughput: input tokens of completed requests by duration
--   output_throughput: output tokens of completed requests by duration
--   total_throughput: input and output tokens of completed requests by duration
--   percentiles: numpy, linear between neighbours; std of the population; where one metric has no values it reports none at all
--   itl: none; it keeps no gaps
WITH marks AS (
  SELECT
    run, request_id, attempt,
    min(CASE WHEN channel IN ('content', 'reasoning') THEN arrival_ns END) AS first_ns,
    min(CASE WHEN channel = 'usage' AND NOT has_choices THEN arrival_ns END) AS usage_ns,
    min(CASE WHEN channel = 'done' THEN arrival_ns END) AS done_ns
  FROM chunks
  GROUP BY run, request_id, attempt
),
calls AS (
  SELECT
    m.run, m.request_id, m.attempt, m.end_ns,
    m.status <> 'not_sent' AS is_sent,
    m.http_status = 200 AND (m.status = 'ok' OR m.error_kind = 'empty') AS is_answer,
    CAST(coalesce(s.first_ns, CASE WHEN m.usage_output_tokens > 1 THEN s.usage_ns END) - m.dispatched_ns AS DOUBLE)
      AS ttft,
    CAST(coalesce(CASE WHEN m.finish_reason IS NOT NULL THEN s.usage_ns END, s.done_ns, m.end_ns)
      - m.dispatched_ns AS DOUBLE) AS e2el,
    CAST(coalesce(m.usage_input_tokens, m.input_tokens_counted, m.input_tokens_planned) AS DOUBLE) AS input_tokens,
    CAST(coalesce(nullif(m.usage_output_tokens, 0), t.text_tokens) AS DOUBLE) AS output_tokens
  FROM measured m
  LEFT JOIN marks s ON s.run = m.run AND s.request_id = m.request_id AND s.attempt = m.attempt
  LEFT JOIN recounted_answers t ON t.run = m.run AND t.request_id = m.request_id AND t.attempt = m.attempt
),
decided AS (SELECT *, is_answer AND ttft >= 0 AND e2el >= ttft AS is_ok FROM calls),
ok AS (SELECT * FROM decided WHERE is_ok),
samples AS (
  SELECT run, metric, value
  FROM (
    SELECT
      run,
      unnest(make_array('ttft', 'tpot', 'e2el')) AS metric,
      unnest(make_array(
        ttft,
        CASE WHEN output_tokens > 1 AND e2el - ttft >= 1e6 THEN (e2el - ttft) / (output_tokens - 1) END,
        e2el
      )) AS value
    FROM ok
  )
  WHERE value IS NOT NULL
),
totals AS (
  SELECT
    run,
    greatest(max(end_ns), 0) / 1e9 AS duration,
    CAST(count(*) FILTER (WHERE is_ok) AS DOUBLE) AS completed,
    CAST(count(*) FILTER (WHERE is_sent AND is_answer IS NOT TRUE) AS DOUBLE) AS failed,
    count(*) FILTER (WHERE is_ok AND output_tokens IS NULL) AS uncounted,
    CASE WHEN count(*) FILTER (WHERE is_ok AND input_tokens IS NULL) = 0
      THEN coalesce(sum(input_tokens) FILTER (WHERE is_ok), 0) END AS input_tokens,
    CASE WHEN count(*) FILTER (WHERE is_ok AND output_tokens IS NULL) = 0
      THEN coalesce(sum(output_tokens) FILTER (WHERE is_ok), 0) END AS output_tokens
  FROM decided
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
  r.run, f.metric, f.stat, NULL, NULL, NULL,
  CASE
    WHEN t.uncounted > 0 AND f.metric IN ('tpot', 'output_tokens', 'output_throughput', 'total_throughput')
    THEN 'not available: it would tokenize answers that have no usage'
  END,
  'no values: it reports nothing at all'
FROM runs r
CROSS JOIN definition_shape f
LEFT JOIN totals t ON t.run = r.run
WHERE f.metric NOT IN ('itl', 'icl', 'ntpot')
