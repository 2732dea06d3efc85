-- name: server_counts
-- purpose: requests and tokens as the server counted them over the run, beside those of the client
-- input: server_growth, attempts, runs
-- columns (unit): run, server, quantity, unit, server_count (the quantity's unit), client_count (the quantity's unit), of_others (the quantity's unit)
-- notes: the server's are what its counters grew by from the first scrape to the last; the client's are of every attempt that was sent, warm-ups included
--   of_others is what the server counted more, where that is over 1 % of the client's and over 2: it served others too. Tokens are judged only where every attempt was ok, since of others the server may have made more than came
--   a server that does not count requests whose client left (vLLM) counts fewer
--   of a part of a tape (`--by`) of_others is null, since the server's are of all of it
--   prefix_hits of the client are the cached tokens that the server told in usage
WITH sent AS (
  SELECT
    run,
    count(*) AS requests,
    count(*) FILTER (WHERE status <> 'ok') AS not_ok,
    sum(input_tokens) AS input_tokens,
    sum(output_tokens) AS output_tokens,
    sum(usage_cached_tokens) AS cached_tokens
  FROM attempts
  WHERE sent_ns IS NOT NULL
  GROUP BY run
),
counted AS (
  SELECT
    g.run, g.server, g.place, g.quantity, g.growth,
    CASE g.quantity
      WHEN 'requests' THEN s.requests
      WHEN 'input_tokens' THEN s.input_tokens
      WHEN 'output_tokens' THEN s.output_tokens
      WHEN 'prefix_hits' THEN s.cached_tokens
    END AS client_count,
    g.quantity = 'requests' OR (g.quantity = 'output_tokens' AND s.not_ok = 0) AS is_judged
  FROM server_growth g
  LEFT JOIN sent s ON s.run = g.run
  WHERE g.kind = 'counter'
)
SELECT
  c.run, c.server, c.quantity,
  CASE c.quantity WHEN 'requests' THEN 'requests' WHEN 'preemptions' THEN 'requests' ELSE 'tokens' END AS unit,
  CAST(c.growth AS BIGINT) AS server_count,
  CAST(c.client_count AS BIGINT) AS client_count,
  CAST(CASE
    WHEN c.is_judged AND r.run = r.tape AND c.growth - c.client_count > greatest(2, 0.01 * c.client_count)
    THEN c.growth - c.client_count
  END AS BIGINT) AS of_others
FROM counted c
JOIN runs r ON r.run = c.run
ORDER BY
  r.run_index, c.place, c.server,
  CASE c.quantity
    WHEN 'requests' THEN 1 WHEN 'input_tokens' THEN 2 WHEN 'output_tokens' THEN 3
    WHEN 'prefix_queries' THEN 4 WHEN 'prefix_hits' THEN 5 ELSE 6
  END
