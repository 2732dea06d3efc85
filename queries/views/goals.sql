-- name: goals
-- purpose: the goals on one row
-- input: slos
-- columns (unit): ttft_ns (ns), tpot_ns (ns), e2el_ns (ns)
-- notes: null where no goal was set on that latency
SELECT
  min(limit_ns) FILTER (WHERE metric = 'ttft') AS ttft_ns,
  min(limit_ns) FILTER (WHERE metric = 'tpot') AS tpot_ns,
  min(limit_ns) FILTER (WHERE metric = 'e2el') AS e2el_ns
FROM slos
