-- name: peak_bins
-- purpose: the milliseconds in which a run's second of the most output tokens can end
-- input: token_arrivals
-- columns (unit): run, bin (ms), middle (tokens)
-- notes: what came in each millisecond bounds the seconds that end in it from both sides; those are left whose upper bound reaches the best lower one
--   middle are the tokens of the 999 milliseconds before, which belong to each of these seconds
WITH bins AS (
  SELECT run, CAST(floor(arrival_ns / 1e6) AS BIGINT) AS bin, sum(tokens) AS tokens
  FROM token_arrivals
  WHERE tokens IS NOT NULL
  GROUP BY run, CAST(floor(arrival_ns / 1e6) AS BIGINT)
),
bounds AS (
  SELECT
    run, bin,
    coalesce(sum(tokens) OVER (PARTITION BY run ORDER BY bin RANGE BETWEEN 999 PRECEDING AND 1 PRECEDING), 0) AS middle,
    sum(tokens) OVER (PARTITION BY run ORDER BY bin RANGE BETWEEN 999 PRECEDING AND CURRENT ROW) AS at_least,
    sum(tokens) OVER (PARTITION BY run ORDER BY bin RANGE BETWEEN 1000 PRECEDING AND CURRENT ROW) AS at_most
  FROM bins
)
SELECT run, bin, middle
FROM (SELECT *, max(at_least) OVER (PARTITION BY run) AS best FROM bounds)
WHERE at_most + 1e-3 >= best
