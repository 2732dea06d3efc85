-- name: latency_by_load
-- purpose: latency by how many requests were in flight when a request was sent
-- input: requests, latency_scope, in_flight, runs
-- columns (unit): run, quarter (1 to 4), n (requests), in_flight_min (requests), in_flight_p50 (requests), in_flight_max (requests), ttft_p50_ns (ns), ttft_p99_ns (ns), tpot_n (requests), tpot_p50_ns (ns), tpot_p99_ns (ns)
-- notes: of requests in latency_scope, in quarters by the requests in flight at the dispatch, itself among them, the emptiest first; latencies are from the send
--   requests with equally many in flight are in one quarter, so that a run in which their number hardly changes has fewer than four
WITH placed AS (
  SELECT
    q.run, q.ttft_ns, q.tpot_ns, i.in_flight,
    1 + CAST(floor(
      4.0 * (rank() OVER (PARTITION BY q.run ORDER BY i.in_flight) - 1) / count(*) OVER (PARTITION BY q.run)
    ) AS BIGINT) AS quarter
  FROM requests q
  LEFT SEMI JOIN latency_scope k ON k.run = q.run AND k.request_id = q.request_id AND k.attempt = q.attempt
  JOIN in_flight i ON i.run = q.run AND i.from_ns = coalesce(q.dispatched_ns, q.sent_ns)
),
statistics AS (
  SELECT
    run, quarter,
    count(*) AS n,
    min(in_flight) AS in_flight_min,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY CAST(in_flight AS DOUBLE)) AS in_flight_p50,
    max(in_flight) AS in_flight_max,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY CAST(ttft_ns AS DOUBLE)) AS ttft_p50_ns,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY CAST(ttft_ns AS DOUBLE)) AS ttft_p99_ns,
    count(tpot_ns) AS tpot_n,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY tpot_ns) AS tpot_p50_ns,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY tpot_ns) AS tpot_p99_ns
  FROM placed
  GROUP BY run, quarter
)
SELECT
  s.run, s.quarter, s.n, s.in_flight_min, s.in_flight_p50, s.in_flight_max,
  s.ttft_p50_ns, s.ttft_p99_ns, s.tpot_n, s.tpot_p50_ns, s.tpot_p99_ns
FROM statistics s
JOIN runs r ON r.run = s.run
ORDER BY r.run_index, s.quarter
