-- name: smoothness
-- purpose: how evenly each request in latency_scope was streamed: its gaps, stalls and jitter, and a reader's wait
-- input: chunks, measured, latency_scope, settings
-- columns (unit): run, request_id, attempt, chunks (chunks), tokens (tokens), gaps (gaps), gaps_ns (ns), longest_gap_ns (ns), stalls (gaps), stalled_ns (ns), jitter_ns (ns), read_in_time (tokens)
-- notes: of token-bearing chunks; tokens are those that the chunks say, unlike output_tokens; a gap below zero is no gap
--   a stall is a gap longer than settings.stall_ns; stalled_ns sums those gaps whole
--   jitter_ns is the mean absolute difference of successive gaps, as RFC 3550 (6.4.1) takes differences of spacings, but averaged over the answer and not smoothed; it needs two gaps
--   read_in_time counts tokens for a reader of settings.reader_tps who begins with the first token and waits for nothing: token i, from 0, is due i ÷ reader_tps after the first one
WITH bearing AS (
  SELECT
    run, request_id, attempt, seq, arrival_ns,
    CASE WHEN gap_ns >= 0 THEN gap_ns END AS gap_ns,
    CAST(tokens AS BIGINT) AS tokens
  FROM chunks
  WHERE is_token_bearing
),
walked AS (
  SELECT
    run, request_id, attempt, arrival_ns, gap_ns, tokens,
    gap_ns - lag(gap_ns) OVER so_far AS gap_change_ns,
    sum(tokens) OVER so_far AS tokens_so_far
  FROM bearing
  WINDOW so_far AS (
    PARTITION BY run, request_id, attempt ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
  )
),
begun AS (
  SELECT m.run, m.request_id, m.attempt, m.first_token_ns, s.stall_ns, s.reader_tps
  FROM measured m
  LEFT SEMI JOIN latency_scope k ON k.run = m.run AND k.request_id = m.request_id AND k.attempt = m.attempt
  CROSS JOIN settings s
),
timed AS (
  SELECT
    w.*, b.stall_ns,
    least(greatest(w.tokens_so_far - greatest(
      CAST(ceil((w.arrival_ns - b.first_token_ns) * b.reader_tps / 1e9) AS BIGINT), w.tokens_so_far - w.tokens
    ), 0), w.tokens) AS in_time
  FROM begun b
  JOIN walked w ON w.run = b.run AND w.request_id = b.request_id AND w.attempt = b.attempt
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
  sum(in_time) AS read_in_time
FROM timed
GROUP BY run, request_id, attempt
