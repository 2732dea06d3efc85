-- name: client_health
-- purpose: how the client itself fared, over time
-- input: probes, run_spans, runs
-- columns (unit): run, at_ns (ns), in_flight (requests), queued (requests), runtime_lag_max_ns (ns), cpu_share (share), rss_bytes (bytes), channel_fill (batches), reads (reads), events (events), capture_stalls (stalls)
-- notes: one row a bin of the charts over time; in_flight and queued are means, summed over load generators
--   runtime_lag_max_ns, cpu_share, rss_bytes and channel_fill are those of the worst load generator; the rest are sums
WITH intervals AS (
  SELECT
    p.*,
    coalesce(at_ns - lag(at_ns) OVER (PARTITION BY run, worker ORDER BY at_ns), 100000000) AS interval_ns
  FROM probes p
),
workers AS (
  SELECT
    i.run, i.worker,
    CAST(floor(i.at_ns / CAST(s.width_ns AS DOUBLE)) AS BIGINT) * s.width_ns AS at_ns,
    avg(i.in_flight) AS in_flight,
    avg(i.queued) AS queued,
    max(i.runtime_lag_max_ns) AS runtime_lag_max_ns,
    CAST(sum(i.cpu_ns) AS DOUBLE) / nullif(sum(i.interval_ns), 0) AS cpu_share,
    max(i.rss_bytes) AS rss_bytes,
    max(i.channel_fill) AS channel_fill,
    sum(i.reads) AS reads,
    sum(i.events) AS events,
    sum(i.capture_stalls) AS capture_stalls
  FROM intervals i
  JOIN run_spans s ON s.run = i.run
  GROUP BY i.run, i.worker, s.width_ns, floor(i.at_ns / CAST(s.width_ns AS DOUBLE))
)
SELECT
  w.run,
  w.at_ns,
  sum(w.in_flight) AS in_flight,
  sum(w.queued) AS queued,
  max(w.runtime_lag_max_ns) AS runtime_lag_max_ns,
  max(w.cpu_share) AS cpu_share,
  max(w.rss_bytes) AS rss_bytes,
  max(w.channel_fill) AS channel_fill,
  sum(w.reads) AS reads,
  sum(w.events) AS events,
  sum(w.capture_stalls) AS capture_stalls
FROM workers w
JOIN runs r ON r.run = w.run
GROUP BY w.run, r.run_index, w.at_ns
ORDER BY r.run_index, w.at_ns
