-- name: deadline_counts
-- purpose: how many deadlines each request in latency_scope had, and how many it missed
-- input: chunks, slo_results, latency_scope, goals
-- columns (unit): run, request_id, attempt, deadlines (deadlines), deadlines_missed (deadlines)
-- notes: of token-bearing chunks; there are no rows without goals on both ttft and tpot
--   deadlines are those of the fluidity index of Etalon (arXiv 2407.07000), as its code counts them: the first token within the goal on ttft, from slo_results.goals_from_ns, each later one within the goal on tpot after the one before, with the time that earlier ones were early; a late token misses as many deadlines as passed, and the next is due from then on
WITH begun AS (
  SELECT j.run, j.request_id, j.attempt, j.goals_from_ns, g.ttft_ns, g.tpot_ns
  FROM slo_results j
  CROSS JOIN goals g
  LEFT SEMI JOIN latency_scope k ON k.run = j.run AND k.request_id = j.request_id AND k.attempt = j.attempt
  WHERE g.ttft_ns IS NOT NULL AND g.tpot_ns IS NOT NULL
),
bearing AS (
  SELECT
    c.run, c.request_id, c.attempt, c.seq, c.gap_ns IS NULL AS is_first,
    CAST(c.tokens AS BIGINT) AS tokens,
    CASE WHEN c.gap_ns IS NULL THEN b.ttft_ns ELSE b.tpot_ns END AS allowed_ns,
    CASE
      WHEN c.gap_ns IS NULL THEN greatest(c.arrival_ns - b.goals_from_ns, 0)
      ELSE greatest(c.gap_ns, 0)
    END AS took_ns,
    b.tpot_ns
  FROM begun b
  JOIN chunks c ON c.run = b.run AND c.request_id = b.request_id AND c.attempt = b.attempt
  WHERE c.is_token_bearing
),
walked AS (
  SELECT
    *,
    sum(allowed_ns - took_ns + (tokens - 1) * tpot_ns) OVER (
      PARTITION BY run, request_id, attempt ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) - (tokens - 1) * tpot_ns AS early_ns
  FROM bearing
),
timed AS (
  SELECT
    *,
    least(coalesce(min(early_ns) OVER (
      PARTITION BY run, request_id, attempt ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ), 0), 0) AS latest_ns
  FROM walked
),
counted AS (
  SELECT
    *,
    CASE
      WHEN early_ns >= latest_ns THEN 0
      WHEN is_first THEN 1 + (took_ns - allowed_ns) / nullif(tpot_ns, 0)
      ELSE (latest_ns - early_ns + allowed_ns) / nullif(tpot_ns, 0)
    END AS missed
  FROM timed
)
SELECT
  run, request_id, attempt,
  sum(CASE WHEN missed > 0 THEN missed + tokens - 1 ELSE missed + tokens END) AS deadlines,
  sum(missed) AS deadlines_missed
FROM counted
GROUP BY run, request_id, attempt
