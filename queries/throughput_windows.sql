-- name: throughput_windows
-- purpose: requests and tokens a second, over the steady window and over the whole run
-- input: windows, requests, chunks, runs
-- columns (unit): run, window_name, from_ns (ns), to_ns (ns), seconds (s), requests (requests), rps (requests/s), input_tokens (tokens), input_tps (tokens/s), output_tokens (tokens), output_tps (tokens/s), total_tps (tokens/s)
-- notes: requests are the ok ones whose last token falls into the window
--   input tokens count when their request's first token arrives; output tokens count as they arrive, each chunk weighted so that a request's sum is its output_tokens, also for a request that later failed
WITH streams AS (
  SELECT
    run, request_id, attempt, status, input_tokens, output_tokens,
    coalesce(first_token_ns, CASE WHEN status = 'ok' THEN end_ns END) AS begun_ns,
    coalesce(last_token_ns, CASE WHEN status = 'ok' THEN end_ns END) AS done_ns
  FROM requests
),
answers AS (
  SELECT
    w.run, w.window_name, w.from_ns, w.to_ns, q.request_id, q.attempt, q.input_tokens, q.output_tokens,
    q.status = 'ok' AND q.done_ns BETWEEN w.from_ns AND w.to_ns AS is_done,
    q.begun_ns BETWEEN w.from_ns AND w.to_ns AS is_begun,
    q.begun_ns >= w.from_ns AND q.done_ns <= w.to_ns AS is_inside,
    q.begun_ns <= w.to_ns AND q.done_ns >= w.from_ns AS has_overlap
  FROM windows w
  JOIN streams q ON q.run = w.run
),
whole AS (
  SELECT
    run, window_name,
    count(*) FILTER (WHERE is_done) AS requests,
    sum(input_tokens) FILTER (WHERE is_begun) AS input_tokens,
    sum(CAST(output_tokens AS DOUBLE)) FILTER (WHERE is_inside) AS output_tokens
  FROM answers
  GROUP BY run, window_name
),
across AS (
  SELECT
    c.run, a.window_name, c.request_id,
    max(a.output_tokens)
      * CAST(sum(CASE WHEN c.arrival_ns BETWEEN a.from_ns AND a.to_ns THEN coalesce(c.tokens, 1) END) AS DOUBLE)
      / sum(coalesce(c.tokens, 1)) AS output_tokens
  FROM chunks c
  JOIN answers a ON a.run = c.run AND a.request_id = c.request_id AND a.attempt = c.attempt
  WHERE c.is_token_bearing AND a.has_overlap AND NOT a.is_inside
  GROUP BY c.run, a.window_name, c.request_id
),
parts AS (
  SELECT run, window_name, sum(output_tokens) AS output_tokens FROM across GROUP BY run, window_name
),
sums AS (
  SELECT
    w.run, w.window_name, w.from_ns, w.to_ns, w.seconds,
    coalesce(i.requests, 0) AS requests,
    coalesce(i.input_tokens, 0) AS input_tokens,
    coalesce(i.output_tokens, 0) + coalesce(p.output_tokens, 0) AS output_tokens
  FROM windows w
  LEFT JOIN whole i ON i.run = w.run AND i.window_name = w.window_name
  LEFT JOIN parts p ON p.run = w.run AND p.window_name = w.window_name
)
SELECT
  s.run, s.window_name, s.from_ns, s.to_ns, s.seconds,
  s.requests,
  s.requests / s.seconds AS rps,
  s.input_tokens,
  s.input_tokens / s.seconds AS input_tps,
  s.output_tokens,
  s.output_tokens / s.seconds AS output_tps,
  (s.input_tokens + s.output_tokens) / s.seconds AS total_tps
FROM sums s
JOIN runs r ON r.run = s.run
ORDER BY r.run_index, s.window_name DESC
