-- name: runs
-- purpose: one row a tape: what its manifest says, and how it is judged
-- input: tape_runs
-- columns (unit): run, run_index (position on the command line), run_id, state, loop (open or closed), target, model, tool_version, schema_version, seed, labels (JSON), plan (JSON), host, cores, max_concurrency (slots of a closed loop), warmup_ns (ns, where the steady window may begin), slo_from (intended or sent), started_utc
-- notes: times of other views are nanoseconds on the tape's own axis; 0 is the start of the schedule
SELECT * FROM tape_runs
