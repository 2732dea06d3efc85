-- name: stalls
-- purpose: how often, and for how long, answers paused once they had begun
-- input: smoothness, settings, runs
-- columns (unit): run, bound_ns (ns), n (requests), stalled (requests), stalled_share (share), gaps (gaps), stalls (gaps), stalls_share (share), stalled_time_share (share), longest_p50_ns (ns), longest_p90_ns (ns), longest_p99_ns (ns), longest_max_ns (ns)
-- notes: of the requests in latency_scope that streamed a token; a stall is a gap between token-bearing chunks longer than `--stall`, 1 s unless said, which is where a pause begins to interrupt the flow of thought (Nielsen, Usability Engineering, 1993)
--   stalled requests have at least one stall; stalled_time_share is the time in stalls ÷ the time in gaps, of all of them together
--   longest is the longest gap of each request, over those that have a gap
--   a request that never recovered from a stall is not ok, and so is not in here: requests_by_outcome counts it
-- defines: stall (ns): a gap between token-bearing chunks longer than the bound
--   longest_gap (ns): the longest gap between token-bearing chunks; one value a request
WITH statistics AS (
  SELECT
    run,
    count(*) AS n,
    count(*) FILTER (WHERE stalls > 0) AS stalled,
    sum(gaps) AS gaps,
    sum(stalls) AS stalls,
    sum(stalled_ns) AS stalled_ns,
    sum(gaps_ns) AS gaps_ns,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY CAST(longest_gap_ns AS DOUBLE)) AS longest_p50_ns,
    percentile_cont(0.9) WITHIN GROUP (ORDER BY CAST(longest_gap_ns AS DOUBLE)) AS longest_p90_ns,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY CAST(longest_gap_ns AS DOUBLE)) AS longest_p99_ns,
    max(longest_gap_ns) AS longest_max_ns
  FROM smoothness
  GROUP BY run
)
SELECT
  t.run, s.stall_ns AS bound_ns, t.n, t.stalled,
  CAST(t.stalled AS DOUBLE) / t.n AS stalled_share,
  t.gaps, t.stalls,
  CAST(t.stalls AS DOUBLE) / nullif(t.gaps, 0) AS stalls_share,
  CAST(t.stalled_ns AS DOUBLE) / nullif(t.gaps_ns, 0) AS stalled_time_share,
  t.longest_p50_ns, t.longest_p90_ns, t.longest_p99_ns, t.longest_max_ns
FROM statistics t
CROSS JOIN settings s
JOIN runs r ON r.run = t.run
ORDER BY r.run_index
