-- name: aiperf
-- purpose: what AIPerf 0.13.0 would say, had it made these requests
-- input: runs, measured, chunks, recounted_answers, definition_shape
-- columns (unit): run, metric, stat, rule, value, weight, lack, note
-- notes: ttft: from dispatch, connecting included, to the first event with content, reasoning or a tool call
--   itl: (e2el - ttft) / (output tokens - 1): one value a request, a mean of its own, which others call TPOT
--   icl: every gap between events with content, reasoning or a tool call; its percentiles are a t-digest of theirs, exact here
--   e2el: from dispatch to the last event with content, reasoning or a tool call
--   duration: from the first dispatch to the last such event, of completed requests
--   completed: answers with status 200 that had such an event, also where an error came in the stream as plain data
--   failed: all other requests that were sent
--   input_tokens: the server's count, as with `--use-server-token-count`, else its tokenizer's
--   output_tokens: its tokenizer's, of the answer and of the reasoning apart; where the texts were not recounted, the server's count, as with `--use-server-token-count`, which leaves out answers without one
--   request_throughput: completed requests by duration
--   input_throughput: input tokens of completed requests by duration
--   output_throughput: output tokens of completed requests by duration
--   total_throughput: input and output tokens of completed requests by duration
--   percentiles: linear between neighbours; std of the population; a latency without values is left out
WITH events AS (
  SELECT
    run, request_id, attempt, arrival_ns,
    lag(arrival_ns) OVER (PARTITION BY run, request_id, attempt ORDER BY seq) AS before_ns
  FROM chunks
  WHERE channel IN ('content', 'reasoning', 'tool')
),
streams AS (
  SELECT run, request_id, attempt, min(arrival_ns) AS first_ns, max(arrival_ns) AS last_ns
  FROM events
  GROUP BY run, request_id, attempt
),
calls AS (
  SELECT
    m.run, m.request_id, m.attempt, m.dispatched_ns, s.last_ns,
    m.status <> 'not_sent' AS is_sent,
    m.http_status = 200 AND (m.status = 'ok' OR m.error_kind = 'in_stream')
      AND s.first_ns >= m.dispatched_ns AS is_ok,
    CAST(s.first_ns - m.dispatched_ns AS DOUBLE) AS ttft,
    CAST(s.last_ns - m.dispatched_ns AS DOUBLE) AS e2el,
    CAST(coalesce(m.usage_input_tokens, m.input_tokens_counted) AS DOUBLE) AS input_tokens,
    CAST(coalesce(t.answer_tokens + t.reasoning_tokens, m.usage_output_tokens) AS DOUBLE) AS output_tokens
  FROM measured m
  LEFT JOIN streams s ON s.run = m.run AND s.request_id = m.request_id AND s.attempt = m.attempt
  LEFT JOIN recounted_answers t ON t.run = m.run AND t.request_id = m.request_id AND t.attempt = m.attempt
),
ok AS (SELECT * FROM calls WHERE is_ok),
samples AS (
  SELECT run, metric, value
  FROM (
    SELECT
      run,
      unnest(make_array('ttft', 'itl', 'e2el')) AS metric,
      unnest(make_array(
        ttft, CASE WHEN output_tokens > 1 THEN (e2el - ttft) / (output_tokens - 1) END, e2el
      )) AS value
    FROM ok
  )
  WHERE value IS NOT NULL
  UNION ALL
  SELECT e.run, 'icl' AS metric, CAST(e.arrival_ns - e.before_ns AS DOUBLE) AS value
  FROM events e
  LEFT SEMI JOIN ok ON ok.run = e.run AND ok.request_id = e.request_id AND ok.attempt = e.attempt
  WHERE e.before_ns IS NOT NULL
),
totals AS (
  SELECT
    run,
    (max(last_ns) FILTER (WHERE is_ok) - min(dispatched_ns) FILTER (WHERE is_ok)) / 1e9 AS duration,
    CAST(count(*) FILTER (WHERE is_ok) AS DOUBLE) AS completed,
    CAST(count(*) FILTER (WHERE is_sent AND is_ok IS NOT TRUE) AS DOUBLE) AS failed,
    CASE WHEN count(*) FILTER (WHERE is_ok AND output_tokens IS NULL) > 0
      THEN 'answers without usage are left out, as with `--use-server-token-count`' END AS left_out,
    coalesce(sum(input_tokens) FILTER (WHERE is_ok), 0) AS input_tokens,
    coalesce(sum(output_tokens) FILTER (WHERE is_ok), 0) AS output_tokens
  FROM calls
  GROUP BY run
)
SELECT
  s.run, s.metric, NULL AS stat, 'linear' AS rule, s.value, 1 AS weight, NULL AS lack,
  CASE WHEN s.metric = 'itl' THEN t.left_out END AS note
FROM samples s
JOIN totals t ON t.run = s.run
UNION ALL
SELECT
  run, unnest(make_array('duration', 'completed', 'failed', 'input_tokens', 'output_tokens')), 'run', 'run',
  unnest(make_array(duration, completed, failed, input_tokens, output_tokens)), NULL, NULL,
  unnest(make_array(NULL, NULL, NULL, NULL, left_out))
FROM totals
UNION ALL
SELECT
  r.run, f.metric, f.stat, NULL, NULL, NULL, NULL, 'no values'
FROM runs r
CROSS JOIN definition_shape f
WHERE f.metric NOT IN ('tpot', 'ntpot')
