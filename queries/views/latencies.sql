-- name: latencies
-- purpose: every latency of every request in latency_scope, one row a value
-- input: requests, latency_scope, tokens, chunks
-- columns (unit): run, metric, request_id, at_ns (ns), value_ns (ns)
-- notes: latency_scope has the measured requests that were ok; with `--from` and `--to` those of them that were due in the window
--   at_ns is the send time, or the arrival for itl, itl_spread, itl_resolved and icl
-- defines: ttft (ns): from the send to the first event that bears a token; one value a request
--   ttft_intended (ns): the same from when the request was due
--   ttfa (ns): from the send to the first event that bears a token and is not reasoning
--   tpot (ns): from the first to the last event that bears a token, ÷ the streamed output tokens less those of the first chunk; one value a request, none where nothing is left
--   itl (ns): times between tokens, all in one pool, under the policy `arrival`: a later chunk of k tokens gives its gap once and k-1 zeros; the first chunk gives none
--   itl_spread (ns): the same under the policy `spread`: a later chunk of k tokens gives its gap ÷ k, k times; its mean is that of itl
--   itl_resolved (ns): those gaps alone whose both ends came alone in their read
--   icl (ns): gaps between chunks that bear tokens; a chunk is not a token
--   e2el (ns): from the send to the last event that bears a token; without a stream to the end of the response
--   e2el_intended (ns): the same from when the request was due
--   queued (ns): how long a cap that the user set held the request back
--   connect (ns): DNS, TCP and TLS, where a connection was opened
--   server_queue (ns): how long the server kept a request waiting, by its own account in the answer, where it gives one
--   server_prefill (ns): how long it computed the prompt, by the same account
--   server_decode (ns): how long it generated tokens, by the same account
--   slip (ns): the client's own lateness: send less due time, less queued, less connect
WITH per_request AS (
  SELECT
    q.run, q.request_id, q.sent_ns AS at_ns,
    unnest(make_array(
      'ttft', 'ttft_intended', 'ttfa', 'tpot', 'e2el', 'e2el_intended', 'queued', 'connect', 'slip',
      'server_queue', 'server_prefill', 'server_decode'
    )) AS metric,
    unnest(make_array(
      CAST(q.ttft_ns AS DOUBLE), CAST(q.ttft_intended_ns AS DOUBLE), CAST(q.ttfa_ns AS DOUBLE), q.tpot_ns,
      CAST(q.e2el_ns AS DOUBLE), CAST(q.e2el_intended_ns AS DOUBLE), CAST(q.queued_ns AS DOUBLE),
      CAST(q.connect_ns AS DOUBLE), CAST(q.slip_ns AS DOUBLE),
      CAST(q.server_queue_ns AS DOUBLE), CAST(q.server_prefill_ns AS DOUBLE), CAST(q.server_decode_ns AS DOUBLE)
    )) AS value_ns
  FROM requests q
  LEFT SEMI JOIN latency_scope k ON k.run = q.run AND k.request_id = q.request_id AND k.attempt = q.attempt
)
SELECT run, metric, request_id, at_ns, value_ns FROM per_request WHERE value_ns IS NOT NULL
UNION ALL
SELECT t.run, 'itl' AS metric, t.request_id, t.arrival_ns AS at_ns, CAST(t.itl_ns AS DOUBLE) AS value_ns
FROM tokens t
LEFT SEMI JOIN latency_scope k ON k.run = t.run AND k.request_id = t.request_id AND k.attempt = t.attempt
UNION ALL
SELECT run, 'itl_spread' AS metric, request_id, at_ns, unnest(array_repeat(value_ns, tokens)) AS value_ns
FROM (
  SELECT
    c.run, c.request_id, c.arrival_ns AS at_ns,
    greatest(coalesce(CAST(c.tokens AS BIGINT), 1), 1) AS tokens,
    c.gap_ns / CAST(greatest(coalesce(CAST(c.tokens AS BIGINT), 1), 1) AS DOUBLE) AS value_ns
  FROM chunks c
  LEFT SEMI JOIN latency_scope k ON k.run = c.run AND k.request_id = c.request_id AND k.attempt = c.attempt
  WHERE c.is_token_bearing AND c.gap_ns >= 0
)
UNION ALL
SELECT t.run, 'itl_resolved' AS metric, t.request_id, t.arrival_ns AS at_ns, CAST(t.itl_ns AS DOUBLE) AS value_ns
FROM tokens t
LEFT SEMI JOIN latency_scope k ON k.run = t.run AND k.request_id = t.request_id AND k.attempt = t.attempt
WHERE t.is_resolved
UNION ALL
SELECT c.run, 'icl' AS metric, c.request_id, c.arrival_ns AS at_ns, CAST(c.gap_ns AS DOUBLE) AS value_ns
FROM chunks c
LEFT SEMI JOIN latency_scope k ON k.run = c.run AND k.request_id = c.request_id AND k.attempt = c.attempt
WHERE c.is_token_bearing AND c.gap_ns >= 0
