-- name: aiperf
-- purpose: what AIPerf 0.13.0 would say, had it made these requests
-- input: runs, measured, chunks, recounted_answers
-- columns (unit): run, metric, stat, unit, value, note
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
    count(*) FILTER (WHERE is_ok AND output_tokens IS NULL) AS uncounted,
    coalesce(sum(input_tokens) FILTER (WHERE is_ok), 0) AS input_tokens,
    coalesce(sum(output_tokens) FILTER (WHERE is_ok), 0) AS output_tokens
  FROM calls
  GROUP BY run
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
  FROM (VALUES ('ttft', 1), ('itl', 2), ('icl', 3), ('e2el', 4)) m(metric, place)
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
    WHEN t.uncounted > 0 AND s.metric IN ('itl', 'output_tokens', 'output_throughput', 'total_throughput')
    THEN 'answers without usage are left out, as with `--use-server-token-count`'
  END AS note
FROM runs r
CROSS JOIN shape s
LEFT JOIN totals t ON t.run = r.run
LEFT JOIN answers a ON a.run = r.run AND a.metric = s.metric AND a.stat = s.stat
ORDER BY r.run_index, s.place
