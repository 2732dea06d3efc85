-- name: throughput_over_time
-- purpose: what was offered, sent, done and streamed, over time
-- input: time_bins, run_spans, measured, last_attempts, timed_requests, token_arrivals, tape_requests, runs
-- columns (unit): run, at_ns (ns), width_ns (ns), offered (requests), sent (requests), completed (requests), failed (requests), output_tokens (tokens), output_tps (tokens/s), in_flight (requests), retried (attempts)
-- notes: offered by intended time, sent by the send time of the first attempt, completed by when an ok request was answered (answered_ns), failed by when the outcome of any other was known (outcome_ns), but for those that the client hung up on
--   retried are attempts that failed and were followed by another one, by when their outcome was known; failed has none of them
--   output tokens as in throughput_windows; in_flight is the mean over the bin, weighted by time
WITH events AS (
  SELECT run, intended_ns AS at_ns, 1 AS offered, 0 AS sent, 0 AS completed, 0 AS failed, 0 AS retried FROM measured
  UNION ALL
  SELECT run, sent_ns, 0, 1, 0, 0, 0 FROM tape_requests
  WHERE phase = 'measure' AND attempt = 0 AND sent_ns IS NOT NULL
  UNION ALL
  SELECT run, answered_ns, 0, 0, 1, 0, 0 FROM measured WHERE status = 'ok'
  UNION ALL
  SELECT run, outcome_ns, 0, 0, 0, 1, 0 FROM measured
  WHERE status <> 'ok' AND error_kind IS DISTINCT FROM 'hung_up'
  UNION ALL
  SELECT t.run, t.outcome_ns, 0, 0, 0, 0, 1 FROM timed_requests t
  JOIN last_attempts l ON l.run = t.run AND l.request_id = t.request_id
  WHERE t.phase = 'measure' AND t.attempt < l.attempt
),
counted AS (
  SELECT
    e.run, CAST(floor(e.at_ns / CAST(s.width_ns AS DOUBLE)) AS BIGINT) AS bin,
    sum(e.offered) AS offered, sum(e.sent) AS sent, sum(e.completed) AS completed, sum(e.failed) AS failed,
    sum(e.retried) AS retried
  FROM events e
  JOIN run_spans s ON s.run = e.run
  GROUP BY e.run, bin
),
streamed AS (
  SELECT
    t.run, CAST(floor(t.arrival_ns / CAST(s.width_ns AS DOUBLE)) AS BIGINT) AS bin,
    sum(t.tokens) AS output_tokens
  FROM token_arrivals t
  JOIN run_spans s ON s.run = t.run
  GROUP BY t.run, bin
),
presence AS (
  SELECT
    run, from_ns, to_ns, width_ns,
    unnest(range(
      CAST(floor(from_ns / CAST(width_ns AS DOUBLE)) AS BIGINT),
      CAST(floor(to_ns / CAST(width_ns AS DOUBLE)) AS BIGINT) + 1
    )) AS bin
  FROM (
    SELECT r.run, s.width_ns, coalesce(r.dispatched_ns, r.sent_ns) AS from_ns, coalesce(r.end_ns, s.end_ns) AS to_ns
    FROM tape_requests r
    JOIN run_spans s ON s.run = r.run
    WHERE r.phase = 'measure' AND coalesce(r.dispatched_ns, r.sent_ns) IS NOT NULL
  )
),
held AS (
  SELECT
    run, bin,
    CAST(sum(least(to_ns, (bin + 1) * width_ns) - greatest(from_ns, bin * width_ns)) AS DOUBLE)
      / max(width_ns) AS in_flight
  FROM presence
  GROUP BY run, bin
)
SELECT
  b.run, b.at_ns, b.width_ns,
  coalesce(n.offered, 0) AS offered,
  coalesce(n.sent, 0) AS sent,
  coalesce(n.completed, 0) AS completed,
  coalesce(n.failed, 0) AS failed,
  coalesce(t.output_tokens, 0) AS output_tokens,
  coalesce(t.output_tokens, 0) / (b.width_ns / 1e9) AS output_tps,
  coalesce(c.in_flight, 0) AS in_flight,
  coalesce(n.retried, 0) AS retried
FROM time_bins b
JOIN runs r ON r.run = b.run
LEFT JOIN counted n ON n.run = b.run AND n.bin = b.bin
LEFT JOIN streamed t ON t.run = b.run AND t.bin = b.bin
LEFT JOIN held c ON c.run = b.run AND c.bin = b.bin
ORDER BY r.run_index, b.at_ns
