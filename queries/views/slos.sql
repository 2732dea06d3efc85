-- name: slos
-- purpose: the goals that goodput is measured against
-- input: tape_slos
-- columns (unit): metric (ttft, tpot or e2el), limit_ns (ns)
SELECT * FROM tape_slos
