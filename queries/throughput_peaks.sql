-- name: throughput_peaks
-- purpose: the second in which a run streamed the most tokens, wherever that second begins
-- input: token_arrivals, runs
-- columns (unit): run, output_tokens_peak_1s (tokens), from_ns (ns), to_ns (ns)
-- notes: every second is tried that ends with an arrival, so the peak does not depend on how seconds are aligned; its start is not in it, its end is; of equal ones the first
--   output tokens count as they arrive, as in throughput_windows, also those of a request that later failed
-- defines: output_tokens_peak_1s (tokens): the most output tokens that arrived in any second
WITH sliding AS (
  SELECT
    run, arrival_ns,
    round(sum(tokens) OVER (
      PARTITION BY run ORDER BY arrival_ns RANGE BETWEEN 999999999 PRECEDING AND CURRENT ROW
    ), 6) AS tokens
  FROM token_arrivals
  WHERE tokens IS NOT NULL
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
