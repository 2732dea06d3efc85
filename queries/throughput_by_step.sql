-- name: throughput_by_step
-- purpose: what was offered, done and streamed in each step of a tape
-- input: rates, steps, measured, in_flight, runs
-- columns (unit): run, step, labels (JSON), from_ns (ns), to_ns (ns), seconds (s), offered (requests), offered_rps (requests/s), ok (requests), ok_share (share), requests (requests), rps (requests/s), output_tokens (tokens), output_tps (tokens/s), in_flight_mean (requests)
-- notes: offered and ok are of the requests that belong to the step, whenever they ended; requests are the ok ones that ended, and output tokens those that arrived, while it lasted, as in throughput_windows
--   ok_share leaves out requests that the client hung up on, as in run_summary
--   there are no rows for a tape without steps
WITH own AS (
  SELECT
    run, CAST(step AS BIGINT) AS step, count(*) AS offered,
    count(*) FILTER (WHERE status = 'ok') AS ok,
    count(*) FILTER (WHERE error_kind IS DISTINCT FROM 'hung_up') AS judged
  FROM measured
  WHERE step IS NOT NULL
  GROUP BY run, step
),
held AS (
  SELECT
    s.run, s.step,
    CAST(sum(i.in_flight * (least(i.to_ns, s.to_ns) - greatest(i.from_ns, s.from_ns))) AS DOUBLE) AS request_ns
  FROM steps s
  JOIN in_flight i ON i.run = s.run AND i.to_ns > s.from_ns AND i.from_ns < s.to_ns
  GROUP BY s.run, s.step
)
SELECT
  t.run, t.step, s.labels, t.from_ns, t.to_ns, t.seconds,
  coalesce(o.offered, 0) AS offered,
  coalesce(o.offered, 0) / t.seconds AS offered_rps,
  coalesce(o.ok, 0) AS ok,
  CAST(o.ok AS DOUBLE) / nullif(o.judged, 0) AS ok_share,
  t.requests,
  t.requests / t.seconds AS rps,
  t.output_tokens,
  t.output_tokens / t.seconds AS output_tps,
  coalesce(h.request_ns, 0) / 1e9 / t.seconds AS in_flight_mean
FROM rates t
JOIN steps s ON s.run = t.run AND s.step = t.step
JOIN runs r ON r.run = t.run
LEFT JOIN own o ON o.run = t.run AND o.step = t.step
LEFT JOIN held h ON h.run = t.run AND h.step = t.step
WHERE t.kind = 'step'
ORDER BY r.run_index, t.step
