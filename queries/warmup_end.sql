-- name: warmup_end
-- purpose: where the warm-up ends as it was given, and where the run itself says it ends
-- input: runs, warmup_found, windows, measured, latency_scope
-- columns (unit): run, rule (given or auto), given_ns (ns), n (requests), batches (batches), cut (batches), found_ns (ns), steady_from_ns (ns), steady_to_ns (ns), basis, left_out (requests)
-- notes: found_ns is what `--warmup auto` would take: as the view warmup_found has it; it is shown whether or not it is used
--   n, batches and cut are what that looked at; found_ns is null where the run was too short or never became level; then `--warmup auto` cuts nothing
--   steady_from_ns, steady_to_ns and basis are the window in use; left_out are the ok requests that were due outside of what was asked for, by a warm-up or a window, and that no latency covers
WITH outside AS (
  SELECT m.run, count(*) AS requests
  FROM measured m
  LEFT ANTI JOIN latency_scope k ON k.run = m.run AND k.request_id = m.request_id AND k.attempt = m.attempt
  WHERE m.status = 'ok'
  GROUP BY m.run
)
SELECT
  r.run, r.warmup_rule AS rule,
  CASE WHEN r.warmup_rule = 'given' THEN r.warmup_ns END AS given_ns,
  coalesce(f.n, 0) AS n,
  coalesce(f.batches, 0) AS batches,
  f.cut, f.found_ns,
  w.from_ns AS steady_from_ns, w.to_ns AS steady_to_ns, w.basis,
  coalesce(o.requests, 0) AS left_out
FROM runs r
LEFT JOIN warmup_found f ON f.run = r.run
LEFT JOIN windows w ON w.run = r.run AND w.window_name = 'steady'
LEFT JOIN outside o ON o.run = r.run
ORDER BY r.run_index
