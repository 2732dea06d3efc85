-- name: block_rates
-- purpose: what was offered, done and streamed in each block of the window, which intervals of rates are drawn from
-- input: windows, judged, requests, chunks
-- columns (unit): run, block (position in time, from the start of the window), seconds (s), requests (requests), input_tokens (tokens), output_tokens (tokens), offered (requests), ok (requests), good (requests), good_tokens (tokens), owed_tokens (tokens)
-- notes: the blocks are those of block_latencies, inside the window alone
--   requests, input_tokens and output_tokens as in throughput_windows; ok and good are those of the offered ones that were ok, or met every goal; tokens of judged as in goodput, at the time when their request was due
WITH grid AS (
  SELECT run, from_ns, to_ns, (to_ns - from_ns) / 320.0 AS width_ns
  FROM (
    SELECT run, from_ns, to_ns, row_number() OVER (PARTITION BY run ORDER BY window_name DESC) AS place
    FROM windows
    WHERE seconds IS NOT NULL
  )
  WHERE place = 1
),
blocks AS (
  SELECT run, unnest(range(0, 320)) AS block, width_ns FROM grid
),
events AS (
  SELECT
    j.run, k.kind, j.input_tokens, j.output_tokens, j.owed_tokens, j.is_ok, j.is_good,
    CASE k.kind
      WHEN 'done' THEN CASE WHEN j.is_ok THEN coalesce(j.last_token_ns, j.end_ns) END
      WHEN 'prompt' THEN coalesce(j.first_token_ns, CASE WHEN j.is_ok THEN j.end_ns END)
      ELSE j.intended_ns
    END AS at_ns
  FROM judged j
  CROSS JOIN (VALUES ('done'), ('prompt'), ('due')) AS k (kind)
),
counted AS (
  SELECT
    e.run,
    CAST(least(floor((e.at_ns - g.from_ns) / g.width_ns), 319) AS BIGINT) AS block,
    count(*) FILTER (WHERE e.kind = 'done') AS requests,
    sum(e.input_tokens) FILTER (WHERE e.kind = 'prompt') AS input_tokens,
    count(*) FILTER (WHERE e.kind = 'due') AS offered,
    count(*) FILTER (WHERE e.kind = 'due' AND e.is_ok) AS ok,
    count(*) FILTER (WHERE e.kind = 'due' AND e.is_good) AS good,
    sum(e.output_tokens) FILTER (WHERE e.kind = 'due' AND e.is_good) AS good_tokens,
    sum(e.owed_tokens) FILTER (WHERE e.kind = 'due') AS owed_tokens
  FROM events e
  JOIN grid g ON g.run = e.run
  WHERE e.at_ns BETWEEN g.from_ns AND g.to_ns
  GROUP BY 1, 2
),
arrivals AS (
  SELECT
    c.run, c.request_id, c.attempt,
    CASE
      WHEN c.arrival_ns BETWEEN g.from_ns AND g.to_ns
      THEN CAST(least(floor((c.arrival_ns - g.from_ns) / g.width_ns), 319) AS BIGINT)
    END AS block,
    sum(coalesce(c.tokens, 1)) AS tokens
  FROM chunks c
  JOIN grid g ON g.run = c.run
  WHERE c.is_token_bearing
  GROUP BY 1, 2, 3, 4
),
shares AS (
  SELECT
    run, request_id, attempt, block,
    CAST(tokens AS DOUBLE) / sum(tokens) OVER (PARTITION BY run, request_id, attempt) AS share
  FROM arrivals
),
streamed AS (
  SELECT a.run, a.block, sum(a.share * q.output_tokens) AS output_tokens
  FROM shares a
  JOIN requests q ON q.run = a.run AND q.request_id = a.request_id AND q.attempt = a.attempt
  WHERE a.block IS NOT NULL
  GROUP BY a.run, a.block
)
SELECT
  b.run,
  b.block,
  b.width_ns / 1e9 AS seconds,
  coalesce(n.requests, 0) AS requests,
  coalesce(n.input_tokens, 0) AS input_tokens,
  coalesce(s.output_tokens, 0) AS output_tokens,
  coalesce(n.offered, 0) AS offered,
  coalesce(n.ok, 0) AS ok,
  coalesce(n.good, 0) AS good,
  coalesce(n.good_tokens, 0) AS good_tokens,
  coalesce(n.owed_tokens, 0) AS owed_tokens
FROM blocks b
LEFT JOIN counted n ON n.run = b.run AND n.block = b.block
LEFT JOIN streamed s ON s.run = b.run AND s.block = b.block
ORDER BY b.run, b.block
