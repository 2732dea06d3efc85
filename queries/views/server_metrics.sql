-- name: server_metrics
-- purpose: what servers, exporters and this machine said of themselves while the server was driven
-- input: tape_server
-- columns (unit): run, at_ns (ns), at_utc, source, name, labels, value
-- notes: a row a series and scrape, about one a second; a scrape that failed has no rows, and so is a gap
--   at_ns is when the answer had been read; source is an address without secrets, or host
--   labels are as the text format of Prometheus writes them between braces, and null where there are none
--   buckets of histograms (`_bucket`) and times of creation (`_created`) have a row where they are new or have changed
SELECT run, at_ns, at_utc, source, name, labels, value FROM tape_server
