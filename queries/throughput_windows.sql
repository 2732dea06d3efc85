-- name: throughput_windows
-- purpose: requests and tokens a second, over the steady window and over the whole run
-- input: rates, windows, runs
-- columns (unit): run, window_name (steady or run), from_ns (ns), to_ns (ns), seconds (s), requests (requests), rps (requests/s), input_tokens (tokens), input_tps (tokens/s), output_tokens (tokens), output_tps (tokens/s), total_tps (tokens/s), basis, note
-- notes: requests are the ok ones whose last token falls into the window, whenever they were due; goodput counts other ones, those that were due in it, and has rates of its own to be held against
--   tokens are those of every request, also of one that failed, as they pass: input tokens when their request's first token arrives, output tokens as they arrive, each chunk weighted so that a request's sum is its output_tokens (token_arrivals); so tokens ÷ requests is no length
--   a rate is null where the window has no length, and where nothing fell into it of what the run has, as in a window that is shorter than a request; note says so. Where the run has nothing, the rate is 0, but that of input tokens is null: each prompt has some, and nobody told
-- defines: rps (requests/s): ok requests whose last token falls into the window, ÷ its length
--   input_tps (tokens/s): input tokens of the requests whose first token falls into the window, ÷ its length
--   output_tps (tokens/s): output tokens that arrive in the window, ÷ its length
--   total_tps (tokens/s): the sum of the two
WITH counted AS (
  SELECT
    t.*, w.basis,
    t.requests = 0 AND max(t.requests) OVER (PARTITION BY t.run) > 0 AS lacks_requests,
    t.input_tokens = 0 AND max(t.input_tokens) OVER (PARTITION BY t.run) > 0 AS lacks_input,
    t.output_tokens = 0 AND max(t.output_tokens) OVER (PARTITION BY t.run) > 0 AS lacks_output
  FROM rates t
  JOIN windows w ON w.run = t.run AND w.window_name = t.window_name
  WHERE t.kind = 'window'
),
rated AS (
  SELECT
    *,
    CASE WHEN NOT lacks_requests THEN requests / seconds END AS rps,
    CASE WHEN input_tokens > 0 THEN input_tokens / seconds END AS input_tps,
    CASE WHEN NOT lacks_output THEN output_tokens / seconds END AS output_tps
  FROM counted
)
SELECT
  s.run, s.window_name, s.from_ns, s.to_ns, s.seconds,
  s.requests, s.rps,
  s.input_tokens, s.input_tps,
  s.output_tokens, s.output_tps,
  s.input_tps + s.output_tps AS total_tps,
  s.basis,
  CASE
    WHEN s.seconds IS NULL THEN 'the window has no length'
    WHEN s.lacks_output THEN 'no token arrived in the window'
    WHEN s.lacks_requests AND s.lacks_input THEN 'no ok request began or ended in the window'
    WHEN s.lacks_requests THEN 'no ok request ended in the window'
    WHEN s.lacks_input THEN 'no first token arrived in the window'
  END AS note
FROM rated s
JOIN runs r ON r.run = s.run
ORDER BY r.run_index, s.window_name DESC
