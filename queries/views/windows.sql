-- name: windows
-- purpose: the spans of time that rates are taken over: the steady part of a run, and all of it
-- input: runs, run_spans, in_flight, measured, warmups
-- columns (unit): run, window_name (steady or run), from_ns (ns), to_ns (ns), seconds (s), basis (schedule, slots, sessions, asked or whole)
-- notes: steady, open loop (schedule): from the end of the warm-up to the last intended arrival
--   steady, closed loop (slots): from the instant when all slots are first busy after the warm-up to the first end of a request after the last one was dispatched, which is when a slot first finds no work
--   steady, where the schedule is of sessions (sessions): to the instant when the last session is due; in a closed loop, from the instant when all places for sessions are first taken to the first end of a session after the last one began
--   steady, asked for (`--from`, `--to`): what was asked for stands in its place, up to the end of the run at most; latencies then cover the requests that were due in it alone
--   the warm-up ends where the view warmups has it
--   run: from the first send to the last end of a request, whatever became of it, also of one that could not be sent (run_spans); both ends belong to a window
--   seconds is null where a window has no length: all slots were never busy, or everything was due at once
WITH starts AS (
  SELECT
    r.run, r.loop, r.max_concurrency, r.starts_sessions, r.max_sessions, r.window_from_ns, r.window_to_ns, w.warmup_ns
  FROM runs r
  JOIN warmups w ON w.run = r.run
),
slots AS (
  SELECT r.run, r.warmup_ns, coalesce(r.max_concurrency, max(i.in_flight)) AS slots
  FROM starts r
  JOIN in_flight i ON i.run = r.run
  WHERE r.loop = 'closed' AND NOT r.starts_sessions
  GROUP BY r.run, r.warmup_ns, r.max_concurrency
),
busy AS (
  SELECT i.run, min(greatest(i.from_ns, s.warmup_ns)) AS from_ns
  FROM in_flight i
  JOIN slots s ON s.run = i.run
  WHERE i.in_flight >= s.slots AND i.to_ns > s.warmup_ns
  GROUP BY i.run
),
idle AS (
  SELECT m.run, min(m.end_ns) AS to_ns
  FROM measured m
  JOIN run_spans s ON s.run = m.run
  WHERE m.end_ns > s.last_dispatched_ns
  GROUP BY m.run
),
sessions AS (
  SELECT
    m.run, m.session_id, min(m.intended_ns) AS due_ns, min(m.dispatched_ns) AS from_ns, max(m.end_ns) AS to_ns,
    row_number() OVER (PARTITION BY m.run ORDER BY min(m.dispatched_ns), m.session_id) AS place,
    count(*) OVER (PARTITION BY m.run) AS n,
    max(min(m.dispatched_ns)) OVER (PARTITION BY m.run) AS last_from_ns
  FROM measured m
  JOIN runs r ON r.run = m.run
  WHERE r.starts_sessions AND m.session_id IS NOT NULL AND m.dispatched_ns IS NOT NULL
  GROUP BY m.run, m.session_id
),
places AS (
  SELECT
    q.run,
    greatest(max(r.warmup_ns), max(q.from_ns) FILTER (WHERE q.place <= coalesce(r.max_sessions, q.n))) AS from_ns,
    CASE
      WHEN max(r.loop) = 'closed' THEN min(q.to_ns) FILTER (WHERE q.to_ns > q.last_from_ns)
      ELSE max(q.due_ns)
    END AS to_ns
  FROM sessions q
  JOIN starts r ON r.run = q.run
  GROUP BY q.run
),
spans AS (
  SELECT
    r.run,
    'steady' AS window_name,
    CASE
      WHEN r.window_from_ns IS NOT NULL THEN r.window_from_ns
      WHEN r.loop = 'open' THEN r.warmup_ns
      WHEN r.starts_sessions THEN p.from_ns
      ELSE b.from_ns
    END AS from_ns,
    CASE
      WHEN r.window_to_ns IS NOT NULL THEN least(r.window_to_ns, s.end_ns)
      WHEN r.starts_sessions THEN p.to_ns
      WHEN r.loop = 'closed' THEN i.to_ns
      ELSE s.last_intended_ns
    END AS to_ns,
    CASE
      WHEN r.window_from_ns IS NOT NULL OR r.window_to_ns IS NOT NULL THEN 'asked'
      WHEN r.starts_sessions THEN 'sessions'
      WHEN r.loop = 'closed' THEN 'slots'
      ELSE 'schedule'
    END AS basis
  FROM starts r
  LEFT JOIN run_spans s ON s.run = r.run
  LEFT JOIN busy b ON b.run = r.run
  LEFT JOIN idle i ON i.run = r.run
  LEFT JOIN places p ON p.run = r.run
  UNION ALL
  SELECT r.run, 'run' AS window_name, s.first_sent_ns AS from_ns, s.last_end_ns AS to_ns, 'whole' AS basis
  FROM runs r
  LEFT JOIN run_spans s ON s.run = r.run
)
SELECT
  run, window_name, from_ns, to_ns,
  CASE WHEN to_ns > from_ns THEN (to_ns - from_ns) / 1e9 END AS seconds,
  basis
FROM spans
