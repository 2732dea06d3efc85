-- name: startup_burst
-- purpose: what the start of a closed loop, when all slots begin together, adds to the tail of the time to first token
-- input: runs, warmup_found, measured
-- columns (unit): run, warmup_ns (ns), n (requests), ttft_p99_ns (ns), later_n (requests), later_ttft_p99_ns (ns)
-- notes: of the measured requests that were ok, whatever was left out by `--warmup`; later are those that were due from warmup_ns on, which are those that `--warmup` with that time keeps
--   warmup_ns is what warmup_found has, up to the next millisecond; there is a row for a closed loop of which that says something
SELECT
  r.run, f.warmup_ns,
  count(*) AS n,
  percentile_cont(0.99) WITHIN GROUP (ORDER BY CAST(m.first_token_ns - m.sent_ns AS DOUBLE)) AS ttft_p99_ns,
  count(*) FILTER (WHERE m.intended_ns >= f.warmup_ns) AS later_n,
  percentile_cont(0.99) WITHIN GROUP (ORDER BY CAST(m.first_token_ns - m.sent_ns AS DOUBLE))
    FILTER (WHERE m.intended_ns >= f.warmup_ns) AS later_ttft_p99_ns
FROM runs r
JOIN (
  SELECT run, CAST(ceil(found_ns / 1e6) * 1e6 AS BIGINT) AS warmup_ns FROM warmup_found WHERE found_ns > 0
) f ON f.run = r.run
JOIN measured m ON m.run = r.run
WHERE r.loop = 'closed' AND m.status = 'ok' AND m.first_token_ns >= m.sent_ns
GROUP BY r.run_index, r.run, f.warmup_ns
ORDER BY r.run_index
