-- name: clock_anchors
-- purpose: the readings that tie each tape's own axis to the wall clock
-- input: tape_clock_anchors
-- columns (unit): run, monotonic_ns (ns), utc_ns (ns since 1970)
-- notes: a column X_utc uses the last anchor at or before X_ns, and before the first anchor that one; a wall clock that is set shows within 100 ms, but not in the tape of a run that was killed, which has one anchor
SELECT * FROM tape_clock_anchors
