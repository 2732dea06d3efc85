-- name: block_rates
-- purpose: what was offered, done and streamed in each block of the window, which intervals of rates are drawn from
-- input: windows, requests, measured, chunks
-- columns (unit): run, block (position in time, from the start of the window), seconds (s), requests (requests), input_tokens (tokens), output_tokens (tokens), offered (requests), ok (requests)
-- notes: the blocks are those of block_latencies, inside the window alone
--   requests, input_tokens and output_tokens as in throughput_windows; ok are those of the offered ones that were ok
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
  SELECT run, coalesce(last_token_ns, end_ns) AS at_ns, 1 AS requests, CAST(0 AS BIGINT) AS input_tokens, 0 AS offered, 0 AS ok
  FROM requests
  WHERE status = 'ok'
  UNION ALL
  SELECT run, coalesce(first_token_ns, CASE WHEN status = 'ok' THEN end_ns END), 0, coalesce(input_tokens, 0), 0, 0
  FROM requests
  UNION ALL
  SELECT run, intended_ns, 0, CAST(0 AS BIGINT), 1, CASE WHEN status = 'ok' THEN 1 ELSE 0 END
  FROM measured
),
counted AS (
  SELECT
    e.run,
    CAST(least(floor((e.at_ns - g.from_ns) / g.width_ns), 319) AS BIGINT) AS block,
    sum(e.requests) AS requests, sum(e.input_tokens) AS input_tokens, sum(e.offered) AS offered, sum(e.ok) AS ok
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
  coalesce(n.ok, 0) AS ok
FROM blocks b
LEFT JOIN counted n ON n.run = b.run AND n.block = b.block
LEFT JOIN streamed s ON s.run = b.run AND s.block = b.block
ORDER BY b.run, b.block
