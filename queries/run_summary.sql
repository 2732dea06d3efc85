-- name: run_summary
-- purpose: what each run did, on one line
-- input: runs, requests, measured, tape_requests, run_spans, in_flight, tokens
-- columns (unit): run, loop, requests (requests), ok (requests), failed (requests), interrupted (requests), cancelled (requests), hung_up (requests), not_sent (requests), ok_share (share), warmups (requests), chunks (chunks), first_sent_ns (ns), last_token_ns (ns), last_end_ns (ns), duration_s (s), input_tokens (tokens), output_tokens (tokens), peak_in_flight (requests), mean_in_flight (requests), output_tokens_source, unresolved_share (share), resends (requests), retried (requests), retries (attempts)
-- notes: failed is error and timeout; tokens and chunks are those of every measured request, also of one that failed
--   interrupted were in flight when the run was stopped or its process died; output_tokens_source is that of the requests that were ok
--   requests and not_sent count those that were due, never sent, and have no row (unwritten_requests of runs)
--   hung_up are those that the client hung up on, as it was asked to; cancelled are the others that the client gave up
--   ok_share is of all measured requests, those that were cancelled or never sent included, but for those that were hung up on
--   duration_s and mean_in_flight are over the time from the first send to the last end of a request, as the window run; what could not be sent belongs to it (run_spans)
--   unresolved_share: of the gaps between chunks of ok requests, those with an end that shared its read with another chunk; null where the wire can't tell
--   resends are requests that were sent again, since the connection that had waited for them had ended; null where the tape does not say
--   retried are requests that took more than one attempt, retries the attempts after their first ones; all else here is of last attempts
-- defines: ok_share (share): requests that were ok ÷ all measured requests of the run that the client did not hang up on
WITH outcomes AS (
  SELECT
    run,
    sum(resends) AS resends,
    count(*) FILTER (WHERE attempt > 0) AS retried,
    CAST(sum(attempt) AS BIGINT) AS retries,
    count(*) AS requests,
    count(*) FILTER (WHERE status = 'ok') AS ok,
    count(*) FILTER (WHERE status IN ('error', 'timeout')) AS failed,
    count(*) FILTER (WHERE status = 'interrupted') AS interrupted,
    count(*) FILTER (WHERE status = 'cancelled' AND error_kind IS NULL) AS cancelled,
    count(*) FILTER (WHERE error_kind = 'hung_up') AS hung_up,
    count(*) FILTER (WHERE status = 'not_sent') AS not_sent,
    sum(chunk_count) AS chunks,
    sum(input_tokens) AS input_tokens,
    sum(output_tokens) AS output_tokens,
    count(DISTINCT output_tokens_source) FILTER (WHERE status = 'ok') AS sources,
    min(output_tokens_source) FILTER (WHERE status = 'ok') AS source
  FROM requests
  GROUP BY run
),
warmed AS (
  SELECT run, count(DISTINCT request_id) AS warmups
  FROM tape_requests
  WHERE phase = 'warmup'
  GROUP BY run
),
held AS (
  SELECT
    i.run,
    max(i.in_flight) AS peak,
    CAST(sum(CASE
      WHEN least(i.to_ns, s.last_end_ns) > greatest(i.from_ns, s.first_sent_ns)
      THEN i.in_flight * (least(i.to_ns, s.last_end_ns) - greatest(i.from_ns, s.first_sent_ns))
    END) AS DOUBLE) / nullif(max(s.last_end_ns - s.first_sent_ns), 0) AS mean
  FROM in_flight i
  JOIN run_spans s ON s.run = i.run
  GROUP BY i.run
),
resolution AS (
  SELECT
    t.run,
    CAST(count(*) FILTER (WHERE NOT t.is_resolved) AS DOUBLE) / nullif(count(t.is_resolved), 0) AS unresolved
  FROM tokens t
  LEFT SEMI JOIN (SELECT run, request_id, attempt FROM measured WHERE status = 'ok') ok
    ON ok.run = t.run AND ok.request_id = t.request_id AND ok.attempt = t.attempt
  WHERE t.token = 1
  GROUP BY t.run
)
SELECT
  r.run,
  r.loop,
  coalesce(o.requests, 0) + r.unwritten_requests AS requests,
  coalesce(o.ok, 0) AS ok,
  coalesce(o.failed, 0) AS failed,
  coalesce(o.interrupted, 0) AS interrupted,
  coalesce(o.cancelled, 0) AS cancelled,
  coalesce(o.hung_up, 0) AS hung_up,
  coalesce(o.not_sent, 0) + r.unwritten_requests AS not_sent,
  CAST(o.ok AS DOUBLE) / nullif(o.requests + r.unwritten_requests - o.hung_up, 0) AS ok_share,
  coalesce(w.warmups, 0) AS warmups,
  coalesce(o.chunks, 0) AS chunks,
  s.first_sent_ns,
  s.last_token_ns,
  s.last_end_ns,
  CASE WHEN s.last_end_ns >= s.first_sent_ns THEN (s.last_end_ns - s.first_sent_ns) / 1e9 END AS duration_s,
  o.input_tokens,
  o.output_tokens,
  c.peak AS peak_in_flight,
  c.mean AS mean_in_flight,
  CASE WHEN o.sources > 1 THEN 'mixed' ELSE o.source END AS output_tokens_source,
  t.unresolved AS unresolved_share,
  o.resends,
  coalesce(o.retried, 0) AS retried,
  coalesce(o.retries, 0) AS retries
FROM runs r
LEFT JOIN outcomes o ON o.run = r.run
LEFT JOIN warmed w ON w.run = r.run
LEFT JOIN run_spans s ON s.run = r.run
LEFT JOIN held c ON c.run = r.run
LEFT JOIN resolution t ON t.run = r.run
ORDER BY r.run_index
