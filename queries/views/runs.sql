-- name: runs
-- purpose: one row a tape: what its manifest says, and how it is judged
-- input: tape_runs
-- columns (unit): run, run_index (position on the command line), tape (name of the tape; parts of one share it), run_id, state, loop (open or closed), target, model, tool_version, schema_version, seed, labels (JSON), plan (JSON), host, cores, max_concurrency (slots of a closed loop), starts_sessions (true where the schedule is of sessions), max_sessions (sessions at once at most), session_replies (whose replies turns hold that are sent with what was said before them: live, trace or none; null where none are), warmup_ns (ns, where the steady window may begin), warmup_rule (given or auto), window_from_ns (ns), window_to_ns (ns), slo_from (intended or sent), started_utc
-- notes: window_from_ns and window_to_ns are what was asked for in place of the steady window, null where it stands
--   times of other views are nanoseconds on the tape's own axis; 0 is the start of the schedule
SELECT * FROM tape_runs
