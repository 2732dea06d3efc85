-- name: sglang
-- purpose: what SGLang 0.5.23's `bench_serving` would say, had it made these requests
-- input: runs, measured, chunks, definition_shape
-- columns (unit): run, metric, stat, rule, value, weight, lack, note
-- notes: ttft: from dispatch, connecting included, to the first event with content or reasoning; 0 for an answer that has none, such as a tool call alone
--   itl: every gap between events with content or reasoning: of chunks, whatever tokens they bring
--   tpot: (e2el - ttft) / (output tokens - 1), where there are two or more: the usage event and the end mark are in it
--   e2el: from dispatch to the last line of the stream, which is the end mark
--   duration: from the start of the schedule to the last end, be it of a failure; its own has a request for the state of an SGLang server in it as well
--   completed: answers with status 200 whose lines were all JSON or the end mark, also where an error came in the stream; a comment makes it fail
--   failed: all other requests that were sent
--   input_tokens: what was planned, by its tokenizer, of completed requests
--   output_tokens: the server's count, else the length that was asked for; its own requests do not ask for a count
--   request_throughput: completed requests by duration
--   input_throughput: input tokens of completed requests by duration
--   output_throughput: output tokens of completed requests by duration
--   total_throughput: input and output tokens of completed requests by duration
--   percentiles: numpy, linear between neighbours; std of the population; a latency without values is 0, and e2el is not a number
--   endpoint: as of /v1/chat/completions; on /v1/completions a usage event without choices, or an error, makes it fail
WITH events AS (
  SELECT
    run, request_id, attempt, arrival_ns,
    lag(arrival_ns) OVER (PARTITION BY run, request_id, attempt ORDER BY seq) AS before_ns
  FROM chunks
  WHERE channel IN ('content', 'reasoning')
),
firsts AS (
  SELECT run, request_id, attempt, min(arrival_ns) AS first_ns FROM events GROUP BY run, request_id, attempt
),
streams AS (
  SELECT
    run, request_id, attempt, max(arrival_ns) AS last_ns,
    bool_or(channel = 'comment') AS has_comment
  FROM chunks
  GROUP BY run, request_id, attempt
),
calls AS (
  SELECT
    m.run, m.request_id, m.attempt, m.end_ns,
    m.status <> 'not_sent' AS is_sent,
    m.http_status = 200 AND (m.status = 'ok' OR m.error_kind IN ('in_stream', 'empty'))
      AND NOT s.has_comment AND s.last_ns >= m.dispatched_ns AS is_ok,
    coalesce(CAST(f.first_ns - m.dispatched_ns AS DOUBLE), 0) AS ttft,
    CAST(s.last_ns - m.dispatched_ns AS DOUBLE) AS e2el,
    CAST(coalesce(m.input_tokens_counted, m.input_tokens_planned) AS DOUBLE) AS input_tokens,
    CAST(coalesce(m.usage_output_tokens, m.output_tokens_planned) AS DOUBLE) AS output_tokens
  FROM measured m
  LEFT JOIN streams s ON s.run = m.run AND s.request_id = m.request_id AND s.attempt = m.attempt
  LEFT JOIN firsts f ON f.run = m.run AND f.request_id = m.request_id AND f.attempt = m.attempt
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
  r.run, f.metric, f.stat, NULL, CASE WHEN f.stat <> 'run' AND f.metric <> 'e2el' THEN 0 END, NULL,
  CASE
    WHEN t.uncounted > 0 AND f.metric IN ('tpot', 'output_tokens', 'output_throughput', 'total_throughput')
    THEN 'not available: the tape says of some answers neither what the server counted nor what was asked for'
  END,
  CASE
    WHEN f.stat = 'run' THEN NULL
    WHEN f.metric = 'e2el' THEN 'no values: it says nan'
    ELSE 'no values: it says 0'
  END
FROM runs r
CROSS JOIN definition_shape f
LEFT JOIN totals t ON t.run = r.run
WHERE f.metric NOT IN ('icl', 'ntpot') AND f.stat NOT IN ('min', 'max')
