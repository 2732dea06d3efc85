-- name: validity
-- purpose: whether the client itself was the bottleneck
-- input: requests, latencies, probes, run_spans, runs
-- columns (unit): run, check_name, value, limit_value, unit, ok
-- notes: slip: p99 of the client's own lateness, at most 1 ms or 1 % of the median ttft, whichever is more
--   runtime_lag: p99 of how late a thread comes that is called each 10 ms, the one that sends or the one that reads, whichever is later, at most 1 ms or 5 % of the median gap between chunks, whichever is more
--   cpu: share of the probes in which a receiving thread was over 90 % busy, at most 5 %; the busiest thread counts, and with one core the one that sends and the one that reads together
--   not_sent: share of the requests that were due and never sent, where there are such and no cap of the user's held them back
--   probes from the first send to the last end of a request count; ok is null where nothing was measured
WITH medians AS (
  SELECT
    run,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY value_ns) FILTER (WHERE metric = 'ttft') AS ttft_ns,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY value_ns) FILTER (WHERE metric = 'icl') AS icl_ns
  FROM latencies
  WHERE metric IN ('ttft', 'icl')
  GROUP BY run
),
slip AS (
  SELECT run, percentile_cont(0.99) WITHIN GROUP (ORDER BY slip_ns) AS value
  FROM requests
  WHERE sent_ns IS NOT NULL
  GROUP BY run
),
intervals AS (
  SELECT
    run, worker, at_ns, runtime_lag_max_ns, cpu_ns,
    at_ns - lag(at_ns) OVER (PARTITION BY run, worker ORDER BY at_ns) AS interval_ns
  FROM probes
),
watched AS (
  SELECT
    i.run, i.worker, i.runtime_lag_max_ns,
    CAST(i.cpu_ns AS DOUBLE) / nullif(coalesce(i.interval_ns, 100000000), 0) AS cpu_share
  FROM intervals i
  JOIN run_spans s ON s.run = i.run
  WHERE i.at_ns >= s.first_sent_ns AND i.at_ns <= coalesce(s.last_end_ns, s.end_ns)
),
runtime_lag AS (
  SELECT run, percentile_cont(0.99) WITHIN GROUP (ORDER BY runtime_lag_max_ns) AS value
  FROM watched
  GROUP BY run
),
busy AS (
  SELECT
    run, worker,
    CAST(count(*) FILTER (WHERE cpu_share > 0.9) AS DOUBLE) / nullif(count(cpu_share), 0) AS share
  FROM watched
  GROUP BY run, worker
),
cpu AS (
  SELECT run, max(share) AS value FROM busy GROUP BY run
),
numbers AS (
  SELECT
    r.run, r.run_index,
    s.value AS slip_ns, greatest(1e6, 0.01 * m.ttft_ns) AS slip_limit_ns,
    l.value AS lag_ns, greatest(1e6, 0.05 * m.icl_ns) AS lag_limit_ns,
    c.value AS busy_share
  FROM runs r
  LEFT JOIN medians m ON m.run = r.run
  LEFT JOIN slip s ON s.run = r.run
  LEFT JOIN runtime_lag l ON l.run = r.run
  LEFT JOIN cpu c ON c.run = r.run
),
unsent AS (
  SELECT
    r.run, r.run_index,
    (count(q.request_id) + max(r.unwritten_requests)) / CAST(max(s.due) + max(r.unwritten_requests) AS DOUBLE) AS value
  FROM runs r
  JOIN requests q ON q.run = r.run AND q.status = 'not_sent'
  JOIN (SELECT run, count(*) AS due FROM requests GROUP BY run) s ON s.run = r.run
  WHERE r.max_concurrency IS NULL AND r.state = 'complete'
  GROUP BY r.run, r.run_index
),
checks AS (
  SELECT
    run, run_index,
    unnest(make_array(1, 2, 3)) AS place,
    unnest(make_array('slip', 'runtime_lag', 'cpu')) AS check_name,
    unnest(make_array(slip_ns, lag_ns, busy_share)) AS value,
    unnest(make_array(slip_limit_ns, lag_limit_ns, 0.05)) AS limit_value,
    unnest(make_array('ns', 'ns', 'share')) AS unit
  FROM numbers
  UNION ALL
  SELECT run, run_index, 4, 'not_sent', value, 0, 'share'
  FROM unsent
)
SELECT run, check_name, value, limit_value, unit, value <= limit_value AS ok
FROM checks
ORDER BY run_index, place
