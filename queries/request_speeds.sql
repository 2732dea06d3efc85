-- name: request_speeds
-- purpose: how fast each request was served, in tokens a second of its own
-- input: requests, latency_scope, metrics, runs
-- columns (unit): run, metric, unit, n (requests), mean, min, p1, p10, p50, p90, p99, max
-- notes: one value a request in latency_scope; for a speed the low percentiles are the slow requests, so p1 of a speed is what p99 is of a latency
--   percentiles are exact, with linear interpolation
-- defines: request_tps (tokens/s): output tokens ÷ e2el: LLMPerf's request output throughput
--   decode_tps (tokens/s): 1 ÷ tpot: AIPerf's output token throughput per user
--   request_total_tps (tokens/s): input and output tokens ÷ e2el
--   prefill_tps (tokens/s): input tokens ÷ ttft; also called preprocess speed, where ttft is the preprocess time
--   generation_tps (tokens/s): output tokens ÷ generation_time; also called generation speed
--   generation_time (ns): e2el less ttft
WITH parts AS (
  SELECT
    q.run,
    nullif(q.ttft_ns, 0) / 1e9 AS ttft_s,
    nullif(q.e2el_ns, 0) / 1e9 AS e2el_s,
    nullif(q.e2el_ns - q.ttft_ns, 0) / 1e9 AS generation_s,
    nullif(q.tpot_ns, 0) / 1e9 AS tpot_s,
    q.e2el_ns - q.ttft_ns AS generation_ns,
    q.input_tokens, q.output_tokens
  FROM requests q
  LEFT SEMI JOIN latency_scope k ON k.run = q.run AND k.request_id = q.request_id AND k.attempt = q.attempt
),
samples AS (
  SELECT
    run,
    unnest(make_array(
      'request_tps', 'decode_tps', 'request_total_tps', 'prefill_tps', 'generation_tps', 'generation_time'
    )) AS metric,
    unnest(make_array(
      output_tokens / e2el_s, 1 / tpot_s, (input_tokens + output_tokens) / e2el_s, input_tokens / ttft_s,
      output_tokens / generation_s, CAST(generation_ns AS DOUBLE)
    )) AS value
  FROM parts
),
statistics AS (
  SELECT
    run, metric,
    count(*) AS n,
    avg(value) AS mean,
    min(value) AS min,
    percentile_cont(0.01) WITHIN GROUP (ORDER BY value) AS p1,
    percentile_cont(0.1) WITHIN GROUP (ORDER BY value) AS p10,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY value) AS p50,
    percentile_cont(0.9) WITHIN GROUP (ORDER BY value) AS p90,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY value) AS p99,
    max(value) AS max
  FROM samples
  WHERE value >= 0
  GROUP BY run, metric
)
SELECT s.run, s.metric, m.unit, s.n, s.mean, s.min, s.p1, s.p10, s.p50, s.p90, s.p99, s.max
FROM statistics s
JOIN runs r ON r.run = s.run
JOIN metrics m ON m.name = s.metric
ORDER BY r.run_index, m.place
