-- name: warmups
-- purpose: where the warm-up of each run ends, as it is used
-- input: runs, warmup_found
-- columns (unit): run, warmup_ns (ns)
-- notes: what `--warmup` says; with `--warmup auto` where warmup_found has it, and 0 where that found nothing
--   it leaves requests that were due before it out of rates, goodput and every statistic of latency alike
SELECT
  r.run,
  CASE WHEN r.warmup_rule = 'auto' THEN coalesce(f.found_ns, 0) ELSE r.warmup_ns END AS warmup_ns
FROM runs r
LEFT JOIN warmup_found f ON f.run = r.run
