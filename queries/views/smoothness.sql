-- name: smoothness
-- purpose: how evenly each request in latency_scope was streamed: its gaps, stalls, jitter and deadlines
-- input: chunks, slo_results, latency_scope, goals, settings
-- columns (unit): run, request_id, attempt, chunks (chunks), tokens (tokens), gaps (gaps), gaps_ns (ns), longest_gap_ns (ns), stalls (gaps), stalled_ns (ns), jitter_ns (ns), read_in_time (tokens), deadlines (deadlines), deadlines_missed (deadlines)
-- notes: of token-bearing chunks; tokens are those that the chunks say, unlike output_tokens; a gap below zero is no gap
--   a stall is a gap longer than settings.stall_ns; stalled_ns sums those gaps whole
--   jitter_ns is the mean absolute difference of successive gaps, as RFC 3550 (6.4.1) takes differences of spacings, but averaged over the answer and not smoothed; it needs two gaps
--   read_in_time counts tokens for a reader of settings.reader_tps who begins with the first token and waits for nothing: token i, from 0, is due i ÷ reader_tps after the first one
--   deadlines are those of the fluidity index of Etalon (arXiv 2407.07000), as its code counts them: the first token within the goal on ttft, from slo_results.goals_from_ns, each later one within the goal on tpot after the one before, with the time that earlier ones were early; a late token misses as many deadlines as passed, and the next is due from then on; null without both goals
WITH begun AS (
  SELECT j.run, j.request_id, j.attempt, j.first_token_ns, j.goals_from_ns, g.ttft_ns, g.tpot_ns
  FROM slo_results j
  CROSS JOIN goals g
  LEFT SEMI JOIN latency_scope k ON k.run = j.run AND k.request_id = j.request_id AND k.attempt = j.attempt
),
bearing AS (
  SELECT
    c.run, c.request_id, c.attempt, c.seq, c.gap_ns IS NULL AS is_first,
    c.arrival_ns - b.first_token_ns AS since_first_ns,
    CASE WHEN c.gap_ns >= 0 THEN c.gap_ns END AS gap_ns,
    CAST(c.tokens AS BIGINT) AS tokens,
    CASE WHEN c.gap_ns IS NULL THEN b.ttft_ns ELSE b.tpot_ns END AS allowed_ns,
    CASE
      WHEN c.gap_ns IS NULL THEN greatest(c.arrival_ns - b.goals_from_ns, 0)
      ELSE greatest(c.gap_ns, 0)
    END AS took_ns,
    b.tpot_ns
  FROM chunks c
  JOIN begun b ON b.run = c.run AND b.request_id = c.request_id AND b.attempt = c.attempt
  WHERE c.is_token_bearing
),
walked AS (
  SELECT
    *,
    gap_ns - sum(gap_ns) OVER one_before AS gap_change_ns,
    sum(tokens) OVER so_far AS tokens_so_far,
    sum(allowed_ns - took_ns + (tokens - 1) * tpot_ns) OVER so_far - (tokens - 1) * tpot_ns AS early_ns
  FROM bearing
  WINDOW
    so_far AS (
      PARTITION BY run, request_id, attempt ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ),
    one_before AS (
      PARTITION BY run, request_id, attempt ORDER BY seq ROWS BETWEEN 1 PRECEDING AND 1 PRECEDING
    )
),
timed AS (
  SELECT
    w.*,
    s.stall_ns,
    least(greatest(tokens_so_far - greatest(
      CAST(ceil(since_first_ns * s.reader_tps / 1e9) AS BIGINT), tokens_so_far - tokens
    ), 0), tokens) AS in_time,
    least(coalesce(min(early_ns) OVER (
      PARTITION BY run, request_id, attempt ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ), 0), 0) AS latest_ns
  FROM walked w
  CROSS JOIN settings s
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
  count(*) AS chunks,
  sum(tokens) AS tokens,
  count(gap_ns) AS gaps,
  coalesce(sum(gap_ns), 0) AS gaps_ns,
  max(gap_ns) AS longest_gap_ns,
  count(*) FILTER (WHERE gap_ns > stall_ns) AS stalls,
  coalesce(sum(gap_ns) FILTER (WHERE gap_ns > stall_ns), 0) AS stalled_ns,
  avg(CAST(abs(gap_change_ns) AS DOUBLE)) AS jitter_ns,
  sum(in_time) AS read_in_time,
  sum(CASE WHEN missed > 0 THEN missed + tokens - 1 ELSE missed + tokens END) AS deadlines,
  sum(missed) AS deadlines_missed
FROM counted
GROUP BY run, request_id, attempt
