-- name: percentiles
-- purpose: the percentiles that are taken of every latency
-- input: tape_percentiles
-- columns (unit): p (share), is_of_curve
-- notes: is_of_curve are the points of latency_curve, those of latency_percentiles among them; the others were asked for
SELECT p, bool_or(is_of_curve) AS is_of_curve
FROM (
  SELECT p, true AS is_of_curve
  FROM (VALUES
    (0.0), (0.1), (0.2), (0.3), (0.4), (0.5), (0.6), (0.7), (0.8), (0.9), (0.95), (0.98), (0.99),
    (0.995), (0.998), (0.999), (0.9995), (0.9998), (0.9999), (0.99999), (1.0)
  ) curve(p)
  UNION ALL
  SELECT p, false AS is_of_curve FROM tape_percentiles
)
GROUP BY p
