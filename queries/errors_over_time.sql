-- name: errors_over_time
-- purpose: when requests failed, and how
-- input: measured, run_spans, runs
-- columns (unit): run, at_ns (ns), width_ns (ns), status, error_kind, http_status, requests (requests)
-- notes: of measured requests that were not ok, by when their outcome was known (outcome_ns: their end, or when they were due where they were never sent); in the bins of the charts over time, of which those without a failure are left out
WITH placed AS (
  SELECT
    m.run, s.width_ns,
    CAST(floor(m.outcome_ns / CAST(s.width_ns AS DOUBLE)) AS BIGINT) * s.width_ns AS at_ns,
    CAST(m.status AS VARCHAR) AS status,
    CAST(m.error_kind AS VARCHAR) AS error_kind,
    CAST(m.http_status AS BIGINT) AS http_status
  FROM measured m
  JOIN run_spans s ON s.run = m.run
  WHERE m.status <> 'ok' AND m.error_kind IS DISTINCT FROM 'hung_up'
)
SELECT p.run, p.at_ns, p.width_ns, p.status, p.error_kind, p.http_status, count(*) AS requests
FROM placed p
JOIN runs r ON r.run = p.run
GROUP BY r.run_index, p.run, p.at_ns, p.width_ns, p.status, p.error_kind, p.http_status
ORDER BY r.run_index, p.at_ns, p.status, p.error_kind, p.http_status
