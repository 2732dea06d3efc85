-- name: throughput_peaks
-- purpose: the second in which a run streamed the most tokens, wherever that second begins
-- input: tape_chunks, requests, runs
-- columns (unit): run, output_tokens_peak_1s (tokens), from_ns (ns), to_ns (ns)
-- notes: every second is tried that ends with an arrival, so the peak does not depend on how seconds are aligned; its start is not in it, its end is; of equal ones the first
--   output tokens count as they arrive, weighted as in throughput_windows, also those of a request that later failed
-- defines: output_tokens_peak_1s (tokens): the most output tokens that arrived in any second
WITH streams AS (
  SELECT run, request_id, attempt, sum(coalesce(CAST(tokens AS BIGINT), 1)) AS tokens
  FROM tape_chunks
  WHERE channel IN ('content', 'reasoning', 'tool', 'refusal', 'audio')
  GROUP BY run, request_id, attempt
),
weights AS (
  SELECT s.run, s.request_id, s.attempt, CAST(q.output_tokens AS DOUBLE) / nullif(s.tokens, 0) AS weight
  FROM streams s
  JOIN requests q ON q.run = s.run AND q.request_id = s.request_id AND q.attempt = s.attempt
),
arrivals AS (
  SELECT c.run, c.arrival_ns, coalesce(CAST(c.tokens AS BIGINT), 1) * w.weight AS tokens
  FROM tape_chunks c
  JOIN weights w ON w.run = c.run AND w.request_id = c.request_id AND w.attempt = c.attempt
  WHERE c.channel IN ('content', 'reasoning', 'tool', 'refusal', 'audio')
),
sliding AS (
  SELECT
    run, arrival_ns,
    round(sum(tokens) OVER (
      PARTITION BY run ORDER BY arrival_ns RANGE BETWEEN 999999999 PRECEDING AND CURRENT ROW
    ), 6) AS tokens
  FROM arrivals
),
peaks AS (
  SELECT run, max(tokens) AS tokens, first_value(arrival_ns ORDER BY tokens DESC, arrival_ns) AS to_ns
  FROM sliding
  GROUP BY run
)
SELECT p.run, p.tokens AS output_tokens_peak_1s, p.to_ns - 1000000000 AS from_ns, p.to_ns
FROM peaks p
JOIN runs r ON r.run = p.run
ORDER BY r.run_index
