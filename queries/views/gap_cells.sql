-- name: gap_cells
-- purpose: the gaps of the requests in latency_scope, counted by when they ended and how long they were
-- input: token_chunks
-- columns (unit): run, time_bin (position in time, as in token_chunks), block (position in time, as in token_chunks), bin, is_resolved, has_several, n (gaps), zeros (values), sum_ns (ns), low_ns (ns), high_ns (ns)
-- notes: a bin is 1/256 of a doubling wide, and keeps its smallest and largest value; bin -1 holds what is not above zero
--   has_several is of chunks of more than one token; zeros are the times of their further tokens under the policy `arrival`
SELECT
  run, time_bin, block,
  CASE WHEN gap_ns > 0 THEN CAST(floor(log2(CAST(gap_ns AS DOUBLE)) * 256) AS BIGINT) ELSE -1 END AS bin,
  is_resolved,
  tokens > 1 AS has_several,
  count(*) AS n,
  sum(tokens - 1) AS zeros,
  CAST(sum(gap_ns) AS DOUBLE) AS sum_ns,
  CAST(min(gap_ns) AS DOUBLE) AS low_ns,
  CAST(max(gap_ns) AS DOUBLE) AS high_ns
FROM token_chunks
WHERE is_in_scope AND gap_ns IS NOT NULL
GROUP BY 1, 2, 3, 4, 5, 6
