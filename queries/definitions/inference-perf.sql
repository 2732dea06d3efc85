-- name: inference-perf
-- purpose: what inference-perf 0.7.0 would say, had it made these requests
-- input: runs, measured, chunks, recounted_chunks, recounted_answers, definition_shape
-- columns (unit): run, metric, stat, rule, value, weight, lack, note
-- notes: ttft: from dispatch, connecting included, to the first event with content: reasoning and tool calls are not seen; no value for an answer of one token
--   itl: every gap between tokens: each chunk with content is tokenized by itself, its first token takes the whole gap and the others 0
--   tpot: (last content - first content) / (output tokens - 1), where there are two or more
--   ntpot: e2el / output tokens; 0 where there are none
--   e2el: from dispatch to the end of the response; its own has the time of its tokenizer in it as well
--   duration: from the first dispatch to the last end, failures included
--   completed: answers with status 200, also where an error came in the stream
--   failed: all other requests that were sent
--   input_tokens: the server's count, else its tokenizer's
--   output_tokens: its tokenizer's of the content; the server's count where the texts were not recounted, as with `use_server_output_tokens`
--   request_throughput: completed requests by duration
--   input_throughput: input tokens of completed requests by duration
--   output_throughput: output tokens of completed requests by duration
--   total_throughput: input and output tokens of completed requests by duration
--   percentiles: numpy, linear between neighbours; no std
WITH contents AS (
  SELECT
    c.run, c.request_id, c.attempt, c.seq, c.arrival_ns,
    coalesce(t.tokens, CASE WHEN c.tokens_source <> 'event' THEN c.tokens END) AS tokens
  FROM chunks c
  LEFT JOIN recounted_chunks t
    ON t.run = c.run AND t.request_id = c.request_id AND t.attempt = c.attempt AND t.seq = c.seq
  WHERE c.channel = 'content'
),
events AS (
  SELECT
    *,
    lag(arrival_ns) OVER (PARTITION BY run, request_id, attempt ORDER BY seq) AS before_ns
  FROM contents
  WHERE tokens IS NULL OR tokens > 0
),
streams AS (
  SELECT
    run, request_id, attempt, min(arrival_ns) AS first_ns, max(arrival_ns) AS last_ns,
    count(*) AS chunks, sum(tokens) AS tokens, count(*) = count(tokens) AS is_counted
  FROM events
  GROUP BY run, request_id, attempt
),
calls AS (
  SELECT
    m.run, m.request_id, m.attempt, m.dispatched_ns, m.end_ns,
    m.status <> 'not_sent' AS is_sent,
    m.http_status = 200 AND (m.status = 'ok' OR m.error_kind IN ('in_stream', 'empty'))
      AND m.end_ns >= m.dispatched_ns AS is_ok,
    CAST(s.first_ns - m.dispatched_ns AS DOUBLE) AS first_after,
    CAST(s.last_ns - s.first_ns AS DOUBLE) AS spread,
    coalesce(s.chunks, 0) AS chunks,
    s.tokens AS chunk_tokens,
    coalesce(s.is_counted, true) AS is_counted,
    CAST(m.end_ns - m.dispatched_ns AS DOUBLE) AS e2el,
    CAST(coalesce(m.usage_input_tokens, m.input_tokens_counted) AS DOUBLE) AS input_tokens,
    CAST(coalesce(t.content_tokens, m.usage_output_tokens) AS DOUBLE) AS output_tokens
  FROM measured m
  LEFT JOIN streams s ON s.run = m.run AND s.request_id = m.request_id AND s.attempt = m.attempt
  LEFT JOIN recounted_answers t ON t.run = m.run AND t.request_id = m.request_id AND t.attempt = m.attempt
),
-- It takes an answer for a stream that has two times of tokens or more.
ok AS (SELECT *, chunks > 1 OR chunk_tokens > 1 AS is_streamed FROM calls WHERE is_ok),
samples AS (
  SELECT run, metric, value
  FROM (
    SELECT
      run,
      unnest(make_array('ttft', 'tpot', 'ntpot', 'e2el')) AS metric,
      unnest(make_array(
        CASE WHEN is_streamed THEN first_after END,
        CASE WHEN is_streamed AND output_tokens > 1 THEN spread / (output_tokens - 1) END,
        CASE WHEN output_tokens > 0 THEN e2el / output_tokens ELSE 0 END,
        e2el
      )) AS value
    FROM ok
  )
  WHERE value IS NOT NULL
  UNION ALL
  SELECT e.run, 'itl' AS metric, CASE WHEN e.token = 1 THEN e.gap ELSE 0 END AS value
  FROM (
    SELECT
      run, request_id, attempt, CAST(arrival_ns - before_ns AS DOUBLE) AS gap,
      unnest(range(1, coalesce(tokens, 1) + 1)) AS token
    FROM events
  ) e
  LEFT SEMI JOIN ok ON ok.run = e.run AND ok.request_id = e.request_id AND ok.attempt = e.attempt
  WHERE e.gap IS NOT NULL OR e.token > 1
),
totals AS (
  SELECT
    run,
    (max(end_ns) FILTER (WHERE is_sent) - min(dispatched_ns) FILTER (WHERE is_sent)) / 1e9 AS duration,
    CAST(count(*) FILTER (WHERE is_ok) AS DOUBLE) AS completed,
    CAST(count(*) FILTER (WHERE is_sent AND is_ok IS NOT TRUE) AS DOUBLE) AS failed,
    count(*) FILTER (WHERE is_ok AND output_tokens IS NULL) AS uncounted,
    count(*) FILTER (WHERE is_ok AND NOT is_counted) AS unsplit,
    count(*) FILTER (WHERE is_ok AND NOT is_counted AND chunks = 1) AS undecided,
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
  r.run, f.metric, f.stat, NULL, NULL, NULL,
  CASE
    WHEN t.uncounted > 0 AND f.metric IN ('tpot', 'ntpot', 'output_tokens', 'output_throughput', 'total_throughput')
    THEN 'not available: it would tokenize answers that have no usage'
    WHEN f.metric = 'itl' AND t.unsplit > 0 THEN 'not available: it would tokenize every chunk'
    WHEN f.metric IN ('ttft', 'tpot') AND t.undecided > 0
    THEN 'not available: it would tokenize answers of one chunk'
    WHEN t.input_tokens IS NULL AND f.metric IN ('input_tokens', 'input_throughput', 'total_throughput')
    THEN 'not available: it would tokenize prompts that have no usage'
  END,
  'no values'
FROM runs r
CROSS JOIN definition_shape f
LEFT JOIN totals t ON t.run = r.run
WHERE f.metric <> 'icl' AND f.stat <> 'std'
