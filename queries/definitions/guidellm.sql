-- name: guidellm
-- purpose: what GuideLLM 0.8.1 would say, had it made these requests
-- input: runs, measured, chunks, definition_shape
-- columns (unit): run, metric, stat, rule, value, weight, lack, note
-- notes: ttft: from the send, connecting left out, to the first event with content, reasoning or a tool call
--   itl: (last token - first token) / (output tokens - 1): one value a request, weighted by its tokens less one
--   tpot: (last token - send) / output tokens: the time to the first token is in it; one value a request, weighted by its tokens
--   e2el: from the send to the end mark, else to the end of the stream
--   duration: from the first dispatch to the last end
--   completed: answers with status 200, without an error in the stream, that brought a text, a tool call or a token
--   failed: all other requests that were sent
--   input_tokens: the server's count, else 0
--   output_tokens: the server's count, else the number of such events
--   request_throughput: completed requests by duration: the mean of its rates over time, which ends up to 0.1 ms earlier where ends are that close
--   input_throughput: input tokens of completed requests by duration, in the same way
--   output_throughput: output tokens of completed requests by duration, in the same way
--   total_throughput: input and output tokens of completed requests by duration, in the same way
--   percentiles: the least value at which the sum of weights reaches the share; std of the population; a latency without values is 0
--   clock: it reads the wall clock, so that setting the clock shifts its times
WITH events AS (
  SELECT
    run, request_id, attempt, min(arrival_ns) AS first_ns, max(arrival_ns) AS last_ns, count(*) AS chunks
  FROM chunks
  WHERE channel IN ('content', 'reasoning', 'tool')
  GROUP BY run, request_id, attempt
),
marks AS (
  SELECT run, request_id, attempt, min(arrival_ns) AS done_ns
  FROM chunks
  WHERE channel = 'done'
  GROUP BY run, request_id, attempt
),
answered AS (
  SELECT
    m.run, m.request_id, m.attempt, m.dispatched_ns, m.sent_ns, e.first_ns, e.last_ns, m.end_ns,
    m.status <> 'not_sent' AS is_sent,
    m.http_status = 200 AND (m.status = 'ok' OR m.error_kind = 'empty') AS is_answer,
    coalesce(d.done_ns, m.end_ns) AS done_ns,
    CAST(coalesce(m.usage_input_tokens, 0) AS DOUBLE) AS input_tokens,
    CAST(coalesce(m.usage_output_tokens, e.chunks, 0) AS DOUBLE) AS output_tokens
  FROM measured m
  LEFT JOIN events e ON e.run = m.run AND e.request_id = m.request_id AND e.attempt = m.attempt
  LEFT JOIN marks d ON d.run = m.run AND d.request_id = m.request_id AND d.attempt = m.attempt
),
calls AS (
  SELECT
    *,
    is_answer AND (first_ns IS NOT NULL OR output_tokens > 0)
      AND done_ns >= sent_ns AND coalesce(first_ns, sent_ns) >= sent_ns AS is_ok
  FROM answered
),
ok AS (SELECT * FROM calls WHERE is_ok),
samples AS (
  SELECT run, 'ttft' AS metric, CAST(first_ns - sent_ns AS DOUBLE) AS value, CAST(1 AS DOUBLE) AS weight
  FROM ok
  WHERE first_ns IS NOT NULL
  UNION ALL
  SELECT
    run, 'itl' AS metric, CAST(last_ns - first_ns AS DOUBLE) / (output_tokens - 1) AS value,
    output_tokens - 1 AS weight
  FROM ok
  WHERE first_ns IS NOT NULL AND output_tokens > 1
  UNION ALL
  SELECT
    run, 'tpot' AS metric, CAST(coalesce(last_ns, done_ns) - sent_ns AS DOUBLE) / output_tokens AS value,
    output_tokens AS weight
  FROM ok
  WHERE output_tokens > 0
  UNION ALL
  SELECT run, 'e2el' AS metric, CAST(done_ns - sent_ns AS DOUBLE) AS value, CAST(1 AS DOUBLE) AS weight
  FROM ok
),
totals AS (
  SELECT
    run,
    (max(coalesce(done_ns, end_ns)) FILTER (WHERE is_sent) - min(dispatched_ns) FILTER (WHERE is_sent)) / 1e9 AS duration,
    CAST(count(*) FILTER (WHERE is_ok) AS DOUBLE) AS completed,
    CAST(count(*) FILTER (WHERE is_sent AND is_ok IS NOT TRUE) AS DOUBLE) AS failed,
    CASE WHEN count(*) FILTER (WHERE is_ok AND input_tokens IS NULL) = 0
      THEN coalesce(sum(input_tokens) FILTER (WHERE is_ok), 0) END AS input_tokens,
    CASE WHEN count(*) FILTER (WHERE is_ok AND output_tokens IS NULL) = 0
      THEN coalesce(sum(output_tokens) FILTER (WHERE is_ok), 0) END AS output_tokens
  FROM calls
  GROUP BY run
),
masses AS (
  SELECT run, metric, value, sum(weight) AS weight FROM samples WHERE weight > 0 GROUP BY run, metric, value
)
SELECT
  run, metric, NULL AS stat, 'weighted' AS rule, value, weight / sum(weight) OVER (PARTITION BY run, metric) AS weight,
  NULL AS lack, NULL AS note
FROM masses
UNION ALL
SELECT
  run, unnest(make_array('duration', 'completed', 'failed', 'input_tokens', 'output_tokens')), 'run', 'run',
  unnest(make_array(duration, completed, failed, input_tokens, output_tokens)), NULL, NULL, NULL
FROM totals
UNION ALL
SELECT
  r.run, f.metric, f.stat, NULL, CASE WHEN f.stat <> 'run' THEN 0 END, NULL, NULL,
  CASE WHEN f.stat <> 'run' THEN 'no values: it says 0' END
FROM runs r
CROSS JOIN definition_shape f
WHERE f.metric NOT IN ('icl', 'ntpot')
