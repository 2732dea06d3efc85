-- name: evalscope
-- purpose: what `evalscope perf` of EvalScope 1.14.1 would say, had it made these requests
-- input: runs, measured, chunks, recounted_answers
-- columns (unit): run, metric, stat, unit, value, note
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
),
placed AS (SELECT *, metric <> 'tpot' OR value > 0 AS is_ranked FROM samples),
ranked AS (
  SELECT
    run, metric, value, is_ranked,
    CAST(row_number() OVER (PARTITION BY run, metric, is_ranked ORDER BY value) AS DOUBLE) AS place,
    CAST(count(*) OVER (PARTITION BY run, metric, is_ranked) AS DOUBLE) AS n
  FROM placed
),
statistics AS (
  SELECT
    run, metric,
    avg(value) AS mean,
    min(CASE WHEN is_ranked THEN value END) AS min,
    max(CASE WHEN is_ranked AND place = ceil(n * 50 / 100) THEN value END) AS p50,
    max(CASE WHEN is_ranked AND place = ceil(n * 90 / 100) THEN value END) AS p90,
    max(CASE WHEN is_ranked AND place = ceil(n * 95 / 100) THEN value END) AS p95,
    max(CASE WHEN is_ranked AND place = ceil(n * 99 / 100) THEN value END) AS p99,
    max(CASE WHEN is_ranked THEN value END) AS max
  FROM ranked
  GROUP BY run, metric
),
answers AS (
  SELECT
    run, metric,
    unnest(make_array('mean', 'min', 'p50', 'p90', 'p95', 'p99', 'max')) AS stat,
    unnest(make_array(mean, min, p50, p90, p95, p99, max)) AS value
  FROM statistics
  UNION ALL
  SELECT
    run,
    unnest(make_array(
      'duration', 'completed', 'failed', 'input_tokens', 'output_tokens', 'request_throughput',
      'output_throughput', 'total_throughput'
    )) AS metric,
    'run' AS stat,
    unnest(make_array(
      duration, completed, failed, input_tokens, output_tokens, completed / nullif(duration, 0),
      output_tokens / nullif(duration, 0), (input_tokens + output_tokens) / nullif(duration, 0)
    )) AS value
  FROM totals
),
shape AS (
  SELECT m.metric, s.stat, 'ns' AS unit, m.place * 10 + s.place AS place
  FROM (VALUES ('ttft', 1), ('itl', 2), ('tpot', 3), ('e2el', 4)) m(metric, place)
  CROSS JOIN (VALUES
    ('mean', 1), ('min', 2), ('p50', 3), ('p90', 4), ('p95', 5), ('p99', 6), ('max', 7)
  ) s(stat, place)
  UNION ALL
  SELECT metric, 'run' AS stat, unit, 100 + place AS place
  FROM (VALUES
    ('duration', 's', 1), ('completed', 'requests', 2), ('failed', 'requests', 3),
    ('input_tokens', 'tokens', 4), ('output_tokens', 'tokens', 5),
    ('request_throughput', 'requests/s', 6), ('output_throughput', 'tokens/s', 7),
    ('total_throughput', 'tokens/s', 8)
  ) m(metric, unit, place)
)
SELECT
  r.run, s.metric, s.stat, s.unit,
  CASE
    WHEN t.uncounted > 0 AND s.metric IN ('tpot', 'output_tokens', 'output_throughput', 'total_throughput') THEN NULL
    WHEN s.stat = 'mean' AND s.metric IN ('itl', 'tpot') AND t.completed > 0 THEN coalesce(a.value, 0)
    ELSE a.value
  END AS value,
  CASE
    WHEN t.run IS NULL THEN 'no requests'
    WHEN t.uncounted > 0 AND s.metric IN ('tpot', 'output_tokens', 'output_throughput', 'total_throughput')
    THEN 'not available: of answers without usage it takes the count of its tokenizer, or stops where it has none'
    WHEN t.input_tokens IS NULL AND s.metric IN ('input_tokens', 'total_throughput')
    THEN 'not available: it would tokenize prompts that have no usage'
    WHEN s.stat = 'mean' AND s.metric IN ('itl', 'tpot') AND a.value IS NULL AND t.completed > 0 THEN 'no values: it says 0'
    WHEN a.value IS NULL THEN 'no values'
  END AS note
FROM runs r
CROSS JOIN shape s
LEFT JOIN totals t ON t.run = r.run
LEFT JOIN answers a ON a.run = r.run AND a.metric = s.metric AND a.stat = s.stat
ORDER BY r.run_index, s.place
