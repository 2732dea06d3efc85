-- name: metrics
-- purpose: the metrics that more than one query tells: in which order, of which kind, in which unit, and which way is better
-- input: none
-- columns (unit): name, place (in the order in which they are told), kind (count, rate, latency, client or speed), unit, better (lower or higher)
-- notes: better is null where neither is
--   rates are of a run or a window, and have an interval, as latencies have; client is what the client did before a request was on its way; speeds are of single requests
--   what each of them is stands in the headers of the files that define it, and in the index of docs/metrics.md
--   `goodput` is the name that `comparison` has for goodput_rps
SELECT *
FROM (VALUES
  ('requests', 1, 'count', 'requests', NULL),
  ('ok_share', 2, 'rate', 'share', 'higher'),
  ('rps', 3, 'rate', 'requests/s', 'higher'),
  ('input_tps', 4, 'rate', 'tokens/s', 'higher'),
  ('output_tps', 5, 'rate', 'tokens/s', 'higher'),
  ('total_tps', 6, 'rate', 'tokens/s', 'higher'),
  ('goodput', 7, 'rate', 'requests/s', 'higher'),
  ('goodput_rps', 8, 'rate', 'requests/s', 'higher'),
  ('goodput_tps', 9, 'rate', 'tokens/s', 'higher'),
  ('attainment', 10, 'rate', 'share', 'higher'),
  ('token_attainment', 11, 'rate', 'share', 'higher'),
  ('ttft', 12, 'latency', 'ns', 'lower'),
  ('ttft_intended', 13, 'latency', 'ns', 'lower'),
  ('ttfa', 14, 'latency', 'ns', 'lower'),
  ('tpot', 15, 'latency', 'ns', 'lower'),
  ('itl', 16, 'latency', 'ns', 'lower'),
  ('itl_spread', 17, 'latency', 'ns', 'lower'),
  ('itl_resolved', 18, 'latency', 'ns', 'lower'),
  ('icl', 19, 'latency', 'ns', 'lower'),
  ('e2el', 20, 'latency', 'ns', 'lower'),
  ('e2el_intended', 21, 'latency', 'ns', 'lower'),
  ('server_queue', 22, 'latency', 'ns', 'lower'),
  ('server_prefill', 23, 'latency', 'ns', 'lower'),
  ('server_decode', 24, 'latency', 'ns', 'lower'),
  ('queued', 25, 'client', 'ns', 'lower'),
  ('connect', 26, 'client', 'ns', 'lower'),
  ('slip', 27, 'client', 'ns', 'lower'),
  ('request_tps', 28, 'speed', 'tokens/s', 'higher'),
  ('decode_tps', 29, 'speed', 'tokens/s', 'higher'),
  ('request_total_tps', 30, 'speed', 'tokens/s', 'higher'),
  ('prefill_tps', 31, 'speed', 'tokens/s', 'higher'),
  ('generation_tps', 32, 'speed', 'tokens/s', 'higher'),
  ('generation_time', 33, 'speed', 'ns', 'lower')
) m(name, place, kind, unit, better)
