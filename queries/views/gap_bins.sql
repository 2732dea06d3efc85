-- name: gap_bins
-- purpose: the times between tokens and between chunks of the requests in latency_scope, as a histogram with bins of 1 us
-- input: token_chunks
-- columns (unit): run, metric (itl, itl_spread, itl_resolved or icl), bin (us, its lower edge; -1 for zeros), n (values), sum_ns (ns), squares (ns^2), low_ns (ns), high_ns (ns)
-- notes: what each of the metrics is stands in latencies, which has a row for each value
--   squares sums the squares of the values less the lower edge of their bin, so that a standard deviation loses no digits
WITH gaps AS (
  SELECT
    run, is_resolved, tokens > 1 AS has_several,
    CASE WHEN gap_ns > 0 THEN gap_ns / 1000 ELSE -1 END AS bin,
    count(*) AS n,
    sum(tokens - 1) AS zeros,
    CAST(sum(gap_ns) AS DOUBLE) AS sum_ns,
    CAST(sum((gap_ns % 1000) * (gap_ns % 1000)) AS DOUBLE) AS squares,
    CAST(min(gap_ns) AS DOUBLE) AS low_ns,
    CAST(max(gap_ns) AS DOUBLE) AS high_ns
  FROM token_chunks
  WHERE is_in_scope AND gap_ns IS NOT NULL
  GROUP BY 1, 2, 3, 4
),
spread AS (
  SELECT run, tokens, CASE WHEN gap_ns > 0 THEN gap_ns / tokens / 1000 ELSE -1 END AS bin, gap_ns / CAST(tokens AS DOUBLE) AS value_ns
  FROM token_chunks
  WHERE is_in_scope AND gap_ns IS NOT NULL AND tokens > 1
),
told AS (
  SELECT
    run,
    unnest(make_array('itl', 'itl', 'icl', 'itl_resolved', 'itl_spread')) AS metric,
    unnest(make_array(bin, -1, bin, bin, bin)) AS bin,
    unnest(make_array(
      n, nullif(zeros, 0), n, CASE WHEN is_resolved THEN n END, CASE WHEN NOT has_several THEN n END
    )) AS n,
    unnest(make_array(sum_ns, 0.0, sum_ns, sum_ns, sum_ns)) AS sum_ns,
    unnest(make_array(squares, 0.0, squares, squares, squares)) AS squares,
    unnest(make_array(low_ns, 0.0, low_ns, low_ns, low_ns)) AS low_ns,
    unnest(make_array(high_ns, 0.0, high_ns, high_ns, high_ns)) AS high_ns
  FROM gaps
  UNION ALL
  SELECT
    run, 'itl_spread' AS metric, bin, sum(tokens) AS n, sum(tokens * value_ns) AS sum_ns,
    sum(tokens * power(value_ns - greatest(bin, 0) * 1000, 2)) AS squares, min(value_ns) AS low_ns, max(value_ns) AS high_ns
  FROM spread
  GROUP BY run, bin
)
SELECT
  run, metric, bin, sum(n) AS n, sum(sum_ns) AS sum_ns, sum(squares) AS squares, min(low_ns) AS low_ns, max(high_ns) AS high_ns
FROM told
WHERE n IS NOT NULL
GROUP BY run, metric, bin
