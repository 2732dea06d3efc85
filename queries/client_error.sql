-- name: client_error
-- purpose: how far the client's own times are from those that the server wrote into its answers
-- input: requests, measured, chunks, runs
-- columns (unit): run, metric, n (values), unstamped (values), min_ns (ns), p50_ns (ns), p99_ns (ns), p999_ns (ns), max_ns (ns)
-- notes: for a server that stamps: the text of an answer's first token is ` RECEIVED:SENT`, that of each later one ` SENT`, in UTC nanoseconds; an event of several tokens was sent at the last of its stamps
--   read_lag: arrival less send of an event, which needs one clock on both sides
--   ttft_error: how far the time from send to first arrival is from that between the server's receipt and its first send
--   itl_error: how far the gap between two arrivals is from that between their sends
--   slip: the client's own lateness in sending, of every measured request that was sent; the others are of requests that were ok
--   unstamped: values that could not be taken for want of a stamp; percentiles are exact, with linear interpolation
WITH events AS (
  SELECT
    c.run, c.request_id, c.attempt, c.seq, c.gap_ns,
    CAST(c.arrival_utc AS BIGINT) AS arrival_utc_ns,
    c.arrival_ns - m.sent_ns AS first_ns,
    CASE
      WHEN regexp_like(c.text, '^ ?([0-9]{19}:)?[0-9]{19}( [0-9]{19})* ?$') THEN btrim(c.text)
    END AS stamps
  FROM chunks c
  JOIN measured m ON m.run = c.run AND m.request_id = c.request_id AND m.attempt = c.attempt
  WHERE c.is_token_bearing AND m.status = 'ok'
),
stamped AS (
  SELECT
    *,
    TRY_CAST(split_part(split_part(stamps, ' ', -1), ':', -1) AS BIGINT) AS server_sent_ns,
    CASE WHEN strpos(stamps, ':') > 0 THEN TRY_CAST(split_part(stamps, ':', 1) AS BIGINT) END
      AS server_received_ns
  FROM events
),
errors AS (
  SELECT
    run, gap_ns,
    arrival_utc_ns - server_sent_ns AS read_lag_ns,
    abs(first_ns - (server_sent_ns - server_received_ns)) AS ttft_error_ns,
    abs(gap_ns - (server_sent_ns - lag(server_sent_ns) OVER (PARTITION BY run, request_id, attempt ORDER BY seq)))
      AS itl_error_ns
  FROM stamped
),
samples AS (
  SELECT run, 'read_lag' AS metric, read_lag_ns AS value_ns FROM errors
  UNION ALL
  SELECT run, 'ttft_error' AS metric, ttft_error_ns AS value_ns FROM errors WHERE gap_ns IS NULL
  UNION ALL
  SELECT run, 'itl_error' AS metric, itl_error_ns AS value_ns FROM errors WHERE gap_ns IS NOT NULL
  UNION ALL
  SELECT run, 'slip' AS metric, slip_ns AS value_ns FROM requests WHERE slip_ns IS NOT NULL
),
statistics AS (
  SELECT
    run,
    metric,
    count(value_ns) AS n,
    count(*) - count(value_ns) AS unstamped,
    min(value_ns) AS min_ns,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY CAST(value_ns AS DOUBLE)) AS p50_ns,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY CAST(value_ns AS DOUBLE)) AS p99_ns,
    percentile_cont(0.999) WITHIN GROUP (ORDER BY CAST(value_ns AS DOUBLE)) AS p999_ns,
    max(value_ns) AS max_ns
  FROM samples
  GROUP BY run, metric
)
SELECT
  r.run, m.metric,
  coalesce(s.n, 0) AS n,
  coalesce(s.unstamped, 0) AS unstamped,
  s.min_ns, s.p50_ns, s.p99_ns, s.p999_ns, s.max_ns
FROM runs r
CROSS JOIN (VALUES ('read_lag', 1), ('ttft_error', 2), ('itl_error', 3), ('slip', 4)) m(metric, place)
LEFT JOIN statistics s ON s.run = r.run AND s.metric = m.metric
ORDER BY r.run_index, m.place
