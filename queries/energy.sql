-- name: energy
-- purpose: what the run took in energy, by request and by token, and which share of it prefill and decode had
-- input: power_spans, windows, run_spans, timed_requests, run_summary, runs
-- columns (unit): run, part (gpu, cpu or all), seconds (s), covered_share (share), joules (J), mean_w (W), joules_per_output_token (J), joules_per_request (J), tokens_per_joule (tokens/J), prefill_joules (J), decode_joules (J), note
-- notes: from the first send to the last end of a request, as the window run; all devices that were scraped, whether or not they served this run
--   covered_share is the part of that time in which power is known, of the device of which least is known; below 0.9 there are no joules, and note says so
--   prefill_joules and decode_joules: the energy of each bin of the charts over time, split by the time that requests in flight spent before their first token and after it; what is left was used while no request was in flight. All phases share a GPU, so this is what time each had, not what each would take alone
--   tokens and requests are those of run_summary: output tokens of every measured request, and ok requests
-- defines: joules (J): power × time, summed over devices
--   joules_per_output_token (J): joules ÷ output tokens
--   joules_per_request (J): joules ÷ ok requests
--   tokens_per_joule (tokens/J): output tokens ÷ joules
WITH spans AS (
  SELECT w.run, w.from_ns, w.to_ns, w.seconds, s.width_ns
  FROM windows w
  JOIN run_spans s ON s.run = w.run
  WHERE w.window_name = 'run' AND w.seconds IS NOT NULL
),
clipped AS (
  SELECT
    p.run, p.part, p.device, p.watts, s.width_ns, s.seconds,
    greatest(p.from_ns, s.from_ns) AS from_ns,
    least(p.to_ns, s.to_ns) AS to_ns
  FROM power_spans p
  JOIN spans s ON s.run = p.run
  WHERE p.to_ns > s.from_ns AND p.from_ns < s.to_ns
),
binned AS (
  SELECT
    run, part, watts, from_ns, to_ns, width_ns,
    unnest(range(
      CAST(floor(from_ns / CAST(width_ns AS DOUBLE)) AS BIGINT),
      CAST(floor(to_ns / CAST(width_ns AS DOUBLE)) AS BIGINT) + 1
    )) AS bin
  FROM clipped
),
bin_joules AS (
  SELECT
    run, part, bin,
    sum(watts * (least(to_ns, (bin + 1) * width_ns) - greatest(from_ns, bin * width_ns))) / 1e9 AS joules
  FROM binned
  GROUP BY run, part, bin
),
phases AS (
  SELECT t.run, 'prefill' AS phase, t.sent_ns AS from_ns, coalesce(t.begun_ns, t.outcome_ns) AS to_ns, s.width_ns
  FROM timed_requests t
  JOIN spans s ON s.run = t.run
  WHERE t.sent_ns IS NOT NULL
  UNION ALL
  SELECT t.run, 'decode', t.begun_ns, t.outcome_ns, s.width_ns
  FROM timed_requests t
  JOIN spans s ON s.run = t.run
  WHERE t.begun_ns IS NOT NULL
),
binned_phases AS (
  SELECT
    run, phase, from_ns, to_ns, width_ns,
    unnest(range(
      CAST(floor(from_ns / CAST(width_ns AS DOUBLE)) AS BIGINT),
      CAST(floor(to_ns / CAST(width_ns AS DOUBLE)) AS BIGINT) + 1
    )) AS bin
  FROM phases
  WHERE to_ns > from_ns
),
bin_phases AS (
  SELECT
    run, bin,
    CAST(sum(CASE phase WHEN 'prefill' THEN 1 ELSE 0 END
      * (least(to_ns, (bin + 1) * width_ns) - greatest(from_ns, bin * width_ns))) AS DOUBLE)
      / nullif(sum(least(to_ns, (bin + 1) * width_ns) - greatest(from_ns, bin * width_ns)), 0) AS prefill_share
  FROM binned_phases
  GROUP BY run, bin
),
covered AS (
  SELECT run, part, min(covered_share) AS covered_share
  FROM (
    SELECT run, part, device, sum(to_ns - from_ns) / 1e9 / max(seconds) AS covered_share
    FROM clipped
    GROUP BY run, part, device
  )
  GROUP BY run, part
),
used AS (
  SELECT
    j.run, j.part,
    sum(j.joules) AS joules,
    sum(j.joules * p.prefill_share) AS prefill_joules,
    sum(j.joules * (1 - p.prefill_share)) AS decode_joules
  FROM bin_joules j
  LEFT JOIN bin_phases p ON p.run = j.run AND p.bin = j.bin
  GROUP BY j.run, j.part
),
parts AS (
  SELECT u.run, u.part, c.covered_share, u.joules, u.prefill_joules, u.decode_joules
  FROM used u
  JOIN covered c ON c.run = u.run AND c.part = u.part
),
told AS (
  SELECT run, part, covered_share, joules, prefill_joules, decode_joules FROM parts
  UNION ALL
  SELECT
    r.run, 'all', min(p.covered_share), sum(p.joules), sum(p.prefill_joules), sum(p.decode_joules)
  FROM runs r
  LEFT JOIN parts p ON p.run = r.run
  GROUP BY r.run
  HAVING count(p.part) <> 1
),
judged AS (
  SELECT
    t.*, s.seconds, m.output_tokens, m.ok, r.run_index,
    CASE
      WHEN s.seconds IS NULL THEN 'the run has no length'
      WHEN t.covered_share IS NULL THEN 'no power was scraped'
      WHEN r.run <> r.tape THEN 'power is of the whole tape, and this is a part of it'
      WHEN t.covered_share < 0.9 THEN 'power is known for less than 90 % of the run'
    END AS note
  FROM told t
  JOIN runs r ON r.run = t.run
  LEFT JOIN spans s ON s.run = t.run
  LEFT JOIN run_summary m ON m.run = t.run
)
SELECT
  run, part, seconds, covered_share,
  CASE WHEN note IS NULL THEN joules END AS joules,
  CASE WHEN note IS NULL THEN joules / seconds END AS mean_w,
  CASE WHEN note IS NULL THEN joules / nullif(output_tokens, 0) END AS joules_per_output_token,
  CASE WHEN note IS NULL THEN joules / nullif(ok, 0) END AS joules_per_request,
  CASE WHEN note IS NULL THEN output_tokens / nullif(joules, 0) END AS tokens_per_joule,
  CASE WHEN note IS NULL THEN prefill_joules END AS prefill_joules,
  CASE WHEN note IS NULL THEN decode_joules END AS decode_joules,
  note
FROM judged
ORDER BY run_index, part
