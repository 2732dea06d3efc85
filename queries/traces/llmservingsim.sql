-- name: llmservingsim
-- purpose: LLMServingSim: workloads of the simulator
-- requires: arrival_time_ns, input_toks, output_toks
-- rejects:
-- quantum: 1ns
-- ordered: yes
-- clock: relative
-- block: none
-- tested on: published schema
-- units: arrival_time_ns in nanoseconds from the start
SELECT
  CAST("arrival_time_ns" AS BIGINT) AS arrival_ns,
  CAST("input_toks" AS BIGINT) AS input_tokens,
  CAST("output_toks" AS BIGINT) AS output_tokens
FROM source
