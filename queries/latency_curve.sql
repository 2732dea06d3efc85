-- name: latency_curve
-- purpose: the whole distribution of every latency, as a curve from its minimum to its maximum
-- input: latency_points, percentiles, metrics, runs
-- columns (unit): run, metric, p (share), value_ns (ns), n (values)
-- notes: exact, as latency_percentiles
SELECT l.run, l.metric, l.p, l.value_ns, l.n
FROM latency_points l
JOIN percentiles p ON p.p = l.p AND p.is_of_curve
JOIN runs r ON r.run = l.run
JOIN metrics m ON m.name = l.metric
ORDER BY r.run_index, m.place, l.p
