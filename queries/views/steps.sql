-- name: steps
-- purpose: the parts of a tape that have labels of their own, such as the rungs of a ladder
-- input: tape_steps
-- columns (unit): run, step, labels (JSON), from_ns (ns), from_utc, to_ns (ns), to_utc
SELECT * FROM tape_steps
