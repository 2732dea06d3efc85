-- name: throughput_peaks
-- purpose: the second in which a run streamed the most tokens, wherever that second begins
-- input: peak_bins, token_arrivals, runs
-- columns (unit): run, output_tokens_peak_1s (tokens), from_ns (ns), to_ns (ns)
-- notes: every second that ends with an arrival counts, so the peak does not depend on how seconds are aligned; its start is not in it, its end is; of equal ones the first
--   output tokens count as they arrive, as in throughput_windows, also those of a request that later failed
--   peak_bins says in which milliseconds it can end, and only what arrived in these, or a second before, is looked at: the latter is whole at the start of the millisecond, and leaves as its second ends
-- defines: output_tokens_peak_1s (tokens): the most output tokens that arrived in any second
WITH events AS (
  SELECT
    c.run, c.bin, c.middle, c.is_end,
    CASE WHEN c.is_end THEN t.arrival_ns ELSE t.arrival_ns + 1000000000 END AS to_ns,
    CASE WHEN c.is_end THEN t.tokens ELSE -t.tokens END AS tokens
  FROM (
    SELECT run, bin, middle, is_end, bin - bins_before AS arrival_bin
    FROM peak_bins
    CROSS JOIN (VALUES (true, 0), (false, 1000)) ends(is_end, bins_before)
  ) c
  JOIN (
    SELECT run, CAST(floor(arrival_ns / 1e6) AS BIGINT) AS bin, arrival_ns, tokens
    FROM token_arrivals
    WHERE tokens IS NOT NULL
  ) t ON t.run = c.run AND t.bin = c.arrival_bin
),
sliding AS (
  SELECT
    run, to_ns, is_end,
    round(
      middle - coalesce(sum(CASE WHEN NOT is_end THEN tokens END) OVER (PARTITION BY run, bin), 0)
        + sum(tokens) OVER (PARTITION BY run, bin ORDER BY to_ns),
      6
    ) AS tokens
  FROM events
),
peaks AS (
  SELECT run, max(tokens) AS tokens, first_value(to_ns ORDER BY tokens DESC, to_ns) AS to_ns
  FROM sliding
  WHERE is_end
  GROUP BY run
)
SELECT p.run, p.tokens AS output_tokens_peak_1s, p.to_ns - 1000000000 AS from_ns, p.to_ns
FROM peaks p
JOIN runs r ON r.run = p.run
ORDER BY r.run_index
