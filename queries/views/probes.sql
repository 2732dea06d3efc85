-- name: probes
-- purpose: the client's own health, a row each 100 ms and load generator
-- input: tape_probes
-- columns (unit): those of the table `probes`, and at_utc
SELECT * FROM tape_probes
