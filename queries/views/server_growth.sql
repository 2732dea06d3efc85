-- name: server_growth
-- purpose: how much each counter of a server, and each sum and count of its histograms, grew from the first scrape to the last
-- input: server_metrics, server_meanings
-- columns (unit): run, server, place, kind, quantity, growth (the quantity's own unit)
-- notes: summed over the series; a series that is not yet there at the first scrape of its source began at 0, as servers write many when they first count
--   a value that falls is a server that began anew: what it has since then counts
WITH firsts AS (
  SELECT run, source, min(at_ns) AS first_ns
  FROM server_metrics
  GROUP BY run, source
),
told AS (
  SELECT
    m.run, n.server, n.place, n.kind, n.quantity, m.source, m.at_ns, m.value * n.scale AS value,
    lag(m.value * n.scale) OVER (
      PARTITION BY m.run, m.source, m.name, m.labels, n.kind, n.quantity ORDER BY m.at_ns
    ) AS value_before
  FROM server_metrics m
  JOIN server_meanings n ON n.name = m.name
  WHERE n.kind <> 'gauge' AND m.value IS NOT NULL
)
SELECT
  t.run, t.server, t.place, t.kind, t.quantity,
  sum(CASE
    WHEN t.value_before IS NULL AND t.at_ns = f.first_ns THEN 0
    WHEN t.value_before IS NULL OR t.value < t.value_before THEN t.value
    ELSE t.value - t.value_before
  END) AS growth
FROM told t
JOIN firsts f ON f.run = t.run AND f.source = t.source
GROUP BY t.run, t.server, t.place, t.kind, t.quantity
