-- name: ttft_by_length
-- purpose: how the time to first token spreads by the length of the prompt
-- input: requests, latency_scope, runs
-- columns (unit): run, from_tokens (tokens), to_tokens (tokens), low_ns (ns), high_ns (ns), n (requests)
-- notes: of requests in latency_scope whose input_tokens are known and not 0; latencies are from the send
--   four steps an octave of tokens and of time; empty cells are left out, and all below 2^10 ns is one step
WITH placed AS (
  SELECT
    q.run,
    CAST(floor(4 * log2(CAST(q.input_tokens AS DOUBLE)) + 1e-9) AS BIGINT) AS place,
    CASE WHEN q.ttft_ns >= 1024 THEN CAST(floor(4 * log2(CAST(q.ttft_ns AS DOUBLE))) AS BIGINT) ELSE 39 END AS cell
  FROM requests q
  LEFT SEMI JOIN latency_scope k ON k.run = q.run AND k.request_id = q.request_id AND k.attempt = q.attempt
  WHERE q.input_tokens > 0 AND q.ttft_ns IS NOT NULL
),
cells AS (
  SELECT run, place, cell, count(*) AS n FROM placed GROUP BY run, place, cell
)
SELECT
  c.run,
  power(2.0, c.place / 4.0) AS from_tokens,
  power(2.0, (c.place + 1) / 4.0) AS to_tokens,
  CASE WHEN c.cell = 39 THEN 0 ELSE CAST(round(power(2.0, c.cell / 4.0)) AS BIGINT) END AS low_ns,
  CAST(round(power(2.0, (c.cell + 1) / 4.0)) AS BIGINT) AS high_ns,
  c.n
FROM cells c
JOIN runs r ON r.run = c.run
ORDER BY r.run_index, c.place, c.cell
