-- name: cost
-- purpose: what tokens and requests cost, at a price per token or at a rate per GPU and hour
-- input: throughput_windows, concurrency, settings, runs
-- columns (unit): run, window_name (steady or run), basis (price or gpu_hour), seconds (s), cost (money), cost_per_m_output (money per million tokens), cost_per_m_total (money per million tokens), cost_per_request (money), gpu_share (share)
-- notes: money is in the unit of what was given; there are no rows without `--price-input` and `--price-output`, or `--gpu-hour`
--   price: the window's input and output tokens at their prices; gpu_hour: the window's length × `--gpus` × `--gpu-hour`, whether or not the GPUs were busy
--   gpu_share: a whole tape is charged all GPUs; parts of one (`--by`) share what the time from the first begin to the last end of their windows costs, each by its share of the time in flight (requests in flight × time, as in concurrency), so that parts sum to the whole
--   tokens and requests are those of throughput_windows: tokens of failed requests are paid for too, and requests are the ok ones
--   cost_per_m_output puts all of the cost on the output tokens, cost_per_m_total spreads it over input and output tokens alike
-- defines: cost_per_m_output (money per million tokens): the cost of a window ÷ its output tokens
--   cost_per_m_total (money per million tokens): the cost of a window ÷ its input and output tokens
WITH held AS (
  SELECT
    t.run, t.window_name, t.seconds, t.requests, t.input_tokens, t.output_tokens,
    (max(t.to_ns) OVER whole_tape - min(t.from_ns) OVER whole_tape) / 1e9 AS tape_seconds,
    CASE
      WHEN count(*) OVER whole_tape = 1 THEN 1
      ELSE c.mean * c.seconds / nullif(sum(c.mean * c.seconds) OVER whole_tape, 0)
    END AS gpu_share
  FROM throughput_windows t
  JOIN runs r ON r.run = t.run
  LEFT JOIN concurrency c ON c.run = t.run AND c.window_name = t.window_name
  WHERE t.seconds IS NOT NULL
  WINDOW whole_tape AS (PARTITION BY r.tape, t.window_name)
),
paid AS (
  SELECT
    t.run, t.window_name, 'price' AS basis, t.seconds, t.requests, t.input_tokens, t.output_tokens,
    (t.input_tokens * s.price_input + t.output_tokens * s.price_output) / 1e6 AS cost,
    CAST(NULL AS DOUBLE) AS gpu_share
  FROM throughput_windows t
  CROSS JOIN settings s
  WHERE s.price_input IS NOT NULL AND s.price_output IS NOT NULL
  UNION ALL
  SELECT
    t.run, t.window_name, 'gpu_hour' AS basis, t.seconds, t.requests, t.input_tokens, t.output_tokens,
    h.tape_seconds / 3600 * s.gpus * s.gpu_hour * h.gpu_share AS cost,
    h.gpu_share
  FROM throughput_windows t
  CROSS JOIN settings s
  LEFT JOIN held h ON h.run = t.run AND h.window_name = t.window_name
  WHERE s.gpu_hour IS NOT NULL
)
SELECT
  p.run, p.window_name, p.basis, p.seconds, p.cost,
  p.cost * 1e6 / nullif(p.output_tokens, 0) AS cost_per_m_output,
  p.cost * 1e6 / nullif(p.input_tokens + p.output_tokens, 0) AS cost_per_m_total,
  p.cost / nullif(p.requests, 0) AS cost_per_request,
  p.gpu_share
FROM paid p
JOIN runs r ON r.run = p.run
ORDER BY r.run_index, p.basis DESC, p.window_name DESC
