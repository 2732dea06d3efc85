-- name: block_rates
-- purpose: what was offered, done and streamed in each block of the window, which intervals of rates are drawn from
-- input: block_grid, slo_results, measured, run_spans, token_arrivals, settings
-- columns (unit): run, block (position in time, from the start of the window), seconds (s), requests (requests), input_tokens (tokens), output_tokens (tokens), offered (requests), good (requests), good_tokens (tokens), owed_tokens (tokens), due (requests), due_ok (requests)
-- notes: the blocks are those of block_grid, inside the window alone
--   requests, input_tokens and output_tokens as in throughput_windows; good are those of the offered ones that met every goal; tokens of slo_results as in goodput, at the time when their request was due
--   offered, due and due_ok leave out requests that the client hung up on
--   due and due_ok are of all requests of the run: their blocks are as many, of one length, from the first intended time to the last
WITH blocks AS (
  SELECT r.run, unnest(range(0, s.blocks)) AS block FROM run_spans r CROSS JOIN settings s
),
events AS (
  SELECT
    j.run, k.kind, j.input_tokens, j.output_tokens, j.owed_tokens, j.is_ok, j.is_good,
    CASE k.kind
      WHEN 'done' THEN CASE WHEN j.is_ok THEN j.answered_ns END
      WHEN 'prompt' THEN j.begun_ns
      ELSE CASE WHEN j.is_judged THEN j.intended_ns END
    END AS at_ns
  FROM slo_results j
  CROSS JOIN (VALUES ('done'), ('prompt'), ('due')) AS k (kind)
),
counted AS (
  SELECT
    e.run,
    CAST(least(floor((e.at_ns - g.from_ns) / g.width_ns), g.blocks - 1) AS BIGINT) AS block,
    count(*) FILTER (WHERE e.kind = 'done') AS requests,
    sum(e.input_tokens) FILTER (WHERE e.kind = 'prompt') AS input_tokens,
    count(*) FILTER (WHERE e.kind = 'due') AS offered,
    count(*) FILTER (WHERE e.kind = 'due' AND e.is_good) AS good,
    sum(e.output_tokens) FILTER (WHERE e.kind = 'due' AND e.is_good) AS good_tokens,
    sum(e.owed_tokens) FILTER (WHERE e.kind = 'due') AS owed_tokens
  FROM events e
  JOIN block_grid g ON g.run = e.run
  WHERE e.at_ns BETWEEN g.from_ns AND g.to_ns
  GROUP BY 1, 2
),
streamed AS (
  SELECT
    t.run,
    CAST(least(floor((t.arrival_ns - g.from_ns) / g.width_ns), g.blocks - 1) AS BIGINT) AS block,
    sum(t.tokens) AS output_tokens
  FROM token_arrivals t
  JOIN block_grid g ON g.run = t.run
  WHERE t.arrival_ns BETWEEN g.from_ns AND g.to_ns
  GROUP BY 1, 2
),
outcomes AS (
  SELECT
    m.run,
    CASE
      WHEN s.last_intended_ns > s.first_intended_ns
      THEN CAST(least(floor(
        CAST(k.blocks AS DOUBLE) * (m.intended_ns - s.first_intended_ns) / (s.last_intended_ns - s.first_intended_ns)
      ), k.blocks - 1) AS BIGINT)
      ELSE 0
    END AS block,
    count(*) AS due,
    count(*) FILTER (WHERE m.status = 'ok') AS due_ok
  FROM measured m
  JOIN run_spans s ON s.run = m.run
  CROSS JOIN settings k
  WHERE m.error_kind IS DISTINCT FROM 'hung_up'
  GROUP BY 1, 2
)
SELECT
  b.run,
  b.block,
  coalesce(g.width_ns, 0) / 1e9 AS seconds,
  coalesce(n.requests, 0) AS requests,
  coalesce(n.input_tokens, 0) AS input_tokens,
  coalesce(s.output_tokens, 0) AS output_tokens,
  coalesce(n.offered, 0) AS offered,
  coalesce(n.good, 0) AS good,
  coalesce(n.good_tokens, 0) AS good_tokens,
  coalesce(n.owed_tokens, 0) AS owed_tokens,
  coalesce(o.due, 0) AS due,
  coalesce(o.due_ok, 0) AS due_ok
FROM blocks b
LEFT JOIN block_grid g ON g.run = b.run
LEFT JOIN counted n ON n.run = b.run AND n.block = b.block
LEFT JOIN streamed s ON s.run = b.run AND s.block = b.block
LEFT JOIN outcomes o ON o.run = b.run AND o.block = b.block
ORDER BY b.run, b.block
