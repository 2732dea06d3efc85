-- name: definition_shape
-- purpose: every number that a definition of another tool can have, in the order in which they are shown
-- input: none
-- columns (unit): metric, stat (run, or a statistic of a latency), unit, place
-- notes: latencies have statistics; what is of a whole run is one number, whose stat is `run`
--   a definition takes those that its tool has
SELECT m.metric, s.stat, 'ns' AS unit, m.place * 10 + s.place AS place
FROM (VALUES ('ttft', 1), ('itl', 2), ('icl', 3), ('tpot', 4), ('ntpot', 5), ('e2el', 6)) m(metric, place)
CROSS JOIN (VALUES
  ('mean', 1), ('std', 2), ('min', 3), ('p50', 4), ('p90', 5), ('p95', 6), ('p99', 7), ('max', 8)
) s(stat, place)
UNION ALL
SELECT metric, 'run' AS stat, unit, 100 + place AS place
FROM (VALUES
  ('duration', 's', 1), ('completed', 'requests', 2), ('failed', 'requests', 3),
  ('input_tokens', 'tokens', 4), ('output_tokens', 'tokens', 5),
  ('request_throughput', 'requests/s', 6), ('input_throughput', 'tokens/s', 7),
  ('output_throughput', 'tokens/s', 8), ('total_throughput', 'tokens/s', 9)
) m(metric, unit, place)
