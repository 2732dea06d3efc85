-- name: latency_ranks
-- purpose: whether latencies go with the length of the prompt or with the load
-- input: requests, latency_scope, in_flight, runs
-- columns (unit): run, metric (ttft or tpot), n (requests), with_input, with_in_flight
-- notes: Spearman's rank correlations, from -1 to 1, of a latency from the send with input_tokens and with the requests in flight at the dispatch, itself among them; equal values share their mean rank
--   of requests in latency_scope whose input_tokens are known; null where one side is the same throughout
WITH samples AS (
  SELECT
    q.run, i.in_flight, q.input_tokens,
    unnest(make_array('ttft', 'tpot')) AS metric,
    unnest(make_array(CAST(q.ttft_ns AS DOUBLE), q.tpot_ns)) AS value_ns
  FROM requests q
  LEFT SEMI JOIN latency_scope k ON k.run = q.run AND k.request_id = q.request_id AND k.attempt = q.attempt
  JOIN in_flight i ON i.run = q.run AND i.from_ns = coalesce(q.dispatched_ns, q.sent_ns)
  WHERE q.input_tokens IS NOT NULL
),
ranks AS (
  SELECT
    run, metric,
    rank() OVER by_value + count(*) OVER by_value AS latency,
    rank() OVER by_input + count(*) OVER by_input AS input,
    rank() OVER by_load + count(*) OVER by_load AS in_flight
  FROM samples
  WHERE value_ns IS NOT NULL
  WINDOW
    by_value AS (PARTITION BY run, metric ORDER BY value_ns),
    by_input AS (PARTITION BY run, metric ORDER BY input_tokens),
    by_load AS (PARTITION BY run, metric ORDER BY in_flight)
),
statistics AS (
  SELECT
    run, metric,
    count(*) AS n,
    stddev_pop(latency) AS latency_spread,
    stddev_pop(input) AS input_spread,
    stddev_pop(in_flight) AS in_flight_spread,
    corr(latency, input) AS with_input,
    corr(latency, in_flight) AS with_in_flight
  FROM ranks
  GROUP BY run, metric
)
SELECT
  s.run, s.metric, s.n,
  CASE WHEN s.latency_spread > 0 AND s.input_spread > 0 THEN s.with_input END AS with_input,
  CASE WHEN s.latency_spread > 0 AND s.in_flight_spread > 0 THEN s.with_in_flight END AS with_in_flight
FROM statistics s
JOIN runs r ON r.run = s.run
ORDER BY r.run_index, s.metric DESC
