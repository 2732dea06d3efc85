-- name: server_metrics
-- purpose: what the server said of itself while it was driven
-- input: tape_server
-- columns (unit): run, at_ns (ns), at_utc, source, name, labels, value
SELECT * FROM tape_server
