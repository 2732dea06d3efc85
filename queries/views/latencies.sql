-- name: latencies
-- purpose: every latency of every request in latency_scope, one row a value
-- input: request_latencies, token_chunks
-- columns (unit): run, metric, request_id, at_ns (ns), value_ns (ns)
-- notes: latency_scope has the measured requests that were ok; with `--from` and `--to` those of them that were due in the window
--   at_ns is the send time, or the arrival for itl, itl_spread, itl_resolved and icl
--   gap_bins and gap_cells count the times between tokens by the same rules, without a row for each
-- defines: itl (ns): times between tokens, all in one pool, under the policy `arrival`: a later chunk of k tokens gives its gap once and k-1 zeros; the first chunk gives none
--   itl_spread (ns): the same under the policy `spread`: a later chunk of k tokens gives its gap ÷ k, k times; its mean is that of itl
--   itl_resolved (ns): those gaps alone whose both ends came alone in their read
--   icl (ns): gaps between chunks that bear tokens; a chunk is not a token
WITH gaps AS (
  SELECT run, request_id, arrival_ns AS at_ns, CAST(gap_ns AS DOUBLE) AS gap_ns, tokens, is_resolved
  FROM token_chunks
  WHERE is_in_scope AND gap_ns IS NOT NULL
)
SELECT run, metric, request_id, at_ns, value_ns FROM request_latencies
UNION ALL
SELECT run, 'itl' AS metric, request_id, at_ns, gap_ns AS value_ns FROM gaps
UNION ALL
SELECT run, 'itl' AS metric, request_id, at_ns, unnest(array_repeat(CAST(0 AS DOUBLE), tokens - 1)) AS value_ns
FROM gaps
WHERE tokens > 1
UNION ALL
SELECT run, 'itl_spread' AS metric, request_id, at_ns, unnest(array_repeat(gap_ns / tokens, tokens)) AS value_ns
FROM gaps
UNION ALL
SELECT run, 'itl_resolved' AS metric, request_id, at_ns, gap_ns AS value_ns FROM gaps WHERE is_resolved
UNION ALL
SELECT run, 'icl' AS metric, request_id, at_ns, gap_ns AS value_ns FROM gaps
