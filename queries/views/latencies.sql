-- name: latencies
-- purpose: every latency of every measured request that was ok, one row a value
-- input: requests, measured, tokens, chunks
-- columns (unit): run, metric, request_id, at_ns (ns), value_ns (ns)
-- notes: at_ns is the send time, or the arrival for itl, itl_resolved and icl
--   itl has one row a token, icl one row a gap between chunks; itl_resolved is the part of the gaps whose ends came alone in their read
WITH ok AS (
  SELECT run, request_id, attempt FROM measured WHERE status = 'ok'
),
per_request AS (
  SELECT
    run, request_id, sent_ns AS at_ns,
    unnest(make_array(
      'ttft', 'ttft_intended', 'ttfa', 'tpot', 'e2el', 'e2el_intended', 'queued', 'connect', 'slip'
    )) AS metric,
    unnest(make_array(
      CAST(ttft_ns AS DOUBLE), CAST(ttft_intended_ns AS DOUBLE), CAST(ttfa_ns AS DOUBLE), tpot_ns,
      CAST(e2el_ns AS DOUBLE), CAST(e2el_intended_ns AS DOUBLE), CAST(queued_ns AS DOUBLE),
      CAST(connect_ns AS DOUBLE), CAST(slip_ns AS DOUBLE)
    )) AS value_ns
  FROM requests
  WHERE status = 'ok'
)
SELECT run, metric, request_id, at_ns, value_ns FROM per_request WHERE value_ns IS NOT NULL
UNION ALL
SELECT t.run, 'itl' AS metric, t.request_id, t.arrival_ns AS at_ns, CAST(t.itl_ns AS DOUBLE) AS value_ns
FROM tokens t
LEFT SEMI JOIN ok ON ok.run = t.run AND ok.request_id = t.request_id AND ok.attempt = t.attempt
UNION ALL
SELECT t.run, 'itl_resolved' AS metric, t.request_id, t.arrival_ns AS at_ns, CAST(t.itl_ns AS DOUBLE) AS value_ns
FROM tokens t
LEFT SEMI JOIN ok ON ok.run = t.run AND ok.request_id = t.request_id AND ok.attempt = t.attempt
WHERE t.is_resolved
UNION ALL
SELECT c.run, 'icl' AS metric, c.request_id, c.arrival_ns AS at_ns, CAST(c.gap_ns AS DOUBLE) AS value_ns
FROM chunks c
LEFT SEMI JOIN ok ON ok.run = c.run AND ok.request_id = c.request_id AND ok.attempt = c.attempt
WHERE c.is_token_bearing AND c.gap_ns >= 0
