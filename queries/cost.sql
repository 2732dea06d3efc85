-- name: cost
-- purpose: what tokens and requests cost, at a price per token or at a rate per GPU and hour
-- input: throughput_windows, settings, runs
-- columns (unit): run, window_name (steady or run), basis (price or gpu_hour), seconds (s), cost (money), cost_per_m_output (money per million tokens), cost_per_m_total (money per million tokens), cost_per_request (money)
-- notes: money is in the unit of what was given; there are no rows without `--price-input` and `--price-output`, or `--gpu-hour`
--   price: the window's input and output tokens at their prices; gpu_hour: the window's length × `--gpus` × `--gpu-hour`, whether or not the GPUs were busy
--   tokens and requests are those of throughput_windows: tokens of failed requests are paid for too, and requests are the ok ones
--   cost_per_m_output puts all of the cost on the output tokens, cost_per_m_total spreads it over input and output tokens alike
-- defines: cost_per_m_output (money per million tokens): the cost of a window ÷ its output tokens
--   cost_per_m_total (money per million tokens): the cost of a window ÷ its input and output tokens
WITH paid AS (
  SELECT
    t.run, t.window_name, 'price' AS basis, t.seconds, t.requests, t.input_tokens, t.output_tokens,
    (t.input_tokens * s.price_input + t.output_tokens * s.price_output) / 1e6 AS cost
  FROM throughput_windows t
  CROSS JOIN settings s
  WHERE s.price_input IS NOT NULL AND s.price_output IS NOT NULL
  UNION ALL
  SELECT
    t.run, t.window_name, 'gpu_hour' AS basis, t.seconds, t.requests, t.input_tokens, t.output_tokens,
    t.seconds / 3600 * s.gpus * s.gpu_hour AS cost
  FROM throughput_windows t
  CROSS JOIN settings s
  WHERE s.gpu_hour IS NOT NULL
)
SELECT
  p.run, p.window_name, p.basis, p.seconds, p.cost,
  p.cost * 1e6 / nullif(p.output_tokens, 0) AS cost_per_m_output,
  p.cost * 1e6 / nullif(p.input_tokens + p.output_tokens, 0) AS cost_per_m_total,
  p.cost / nullif(p.requests, 0) AS cost_per_request
FROM paid p
JOIN runs r ON r.run = p.run
ORDER BY r.run_index, p.basis DESC, p.window_name DESC
