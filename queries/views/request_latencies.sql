-- name: request_latencies
-- purpose: the latencies of which each request in latency_scope has one, one row a value
-- input: requests, latency_scope
-- columns (unit): run, metric, request_id, at_ns (ns), value_ns (ns)
-- notes: at_ns is the send time
-- defines: ttft (ns): from the send to the first event that bears a token; one value a request
--   ttft_intended (ns): the same from when the request was due
--   ttfa (ns): from the send to the first event that bears a token and is not reasoning
--   tpot (ns): from the first to the last event that bears a token, ÷ the streamed output tokens less those of the first chunk; one value a request, none where nothing is left
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
