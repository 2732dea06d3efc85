-- name: rates
-- purpose: how many requests and tokens fell into each window and each step
-- input: rate_spans, requests, token_arrivals
-- columns (unit): run, kind (window or step), window_name, step, from_ns (ns), to_ns (ns), seconds (s), requests (requests), input_tokens (tokens), output_tokens (tokens)
-- notes: requests are the ok ones that were answered (answered_ns) in the span, whenever they were due
--   tokens are those of every measured request, whatever became of it: input tokens count when their request's answer begins (begun_ns); output tokens count as they arrive, as token_arrivals has them
--   both ends belong to a span
WITH answers AS (
  SELECT
    w.run, w.kind, w.window_name, w.step, w.from_ns, w.to_ns,
    q.request_id, q.attempt, q.input_tokens, q.output_tokens,
    q.status = 'ok' AND q.answered_ns BETWEEN w.from_ns AND w.to_ns AS is_done,
    q.begun_ns BETWEEN w.from_ns AND w.to_ns AS is_begun,
    q.begun_ns >= w.from_ns AND q.answered_ns <= w.to_ns AS is_inside,
    q.begun_ns <= w.to_ns AND q.answered_ns >= w.from_ns AS has_overlap
  FROM rate_spans w
  JOIN requests q ON q.run = w.run
),
whole AS (
  SELECT
    run, kind, window_name, step,
    count(*) FILTER (WHERE is_done) AS requests,
    sum(input_tokens) FILTER (WHERE is_begun) AS input_tokens,
    sum(CAST(output_tokens AS DOUBLE)) FILTER (WHERE is_inside) AS output_tokens
  FROM answers
  GROUP BY run, kind, window_name, step
),
parts AS (
  SELECT t.run, a.kind, a.window_name, a.step, sum(t.tokens) AS output_tokens
  FROM token_arrivals t
  JOIN answers a ON a.run = t.run AND a.request_id = t.request_id AND a.attempt = t.attempt
  WHERE a.has_overlap AND NOT a.is_inside AND t.arrival_ns BETWEEN a.from_ns AND a.to_ns
  GROUP BY t.run, a.kind, a.window_name, a.step
)
SELECT
  w.run, w.kind, w.window_name, w.step, w.from_ns, w.to_ns, w.seconds,
  coalesce(i.requests, 0) AS requests,
  coalesce(i.input_tokens, 0) AS input_tokens,
  coalesce(i.output_tokens, 0) + coalesce(p.output_tokens, 0) AS output_tokens
FROM rate_spans w
LEFT JOIN whole i ON i.run = w.run AND i.kind = w.kind AND i.window_name = w.window_name AND i.step = w.step
LEFT JOIN parts p ON p.run = w.run AND p.kind = w.kind AND p.window_name = w.window_name AND p.step = w.step
