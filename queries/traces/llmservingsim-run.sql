-- name: llmservingsim-run
-- purpose: LLMServingSim: requests of a real vLLM run, with their times in the server
-- requires: arrival_time, input_toks, output_toks
-- optional: request_id, queued_ts, last_token_ts
-- rejects:
-- quantum: 1us
-- ordered: yes
-- clock: absolute
-- block: none
-- tested on: real rows
-- units: arrival_time in seconds since 1970, with fractions
-- units: queued_ts and last_token_ts in seconds of another clock
SELECT
  CAST(CAST("arrival_time" AS DECIMAL(30, 9)) * 1000000000 AS BIGINT) AS arrival_ns,
  CAST("input_toks" AS BIGINT) AS input_tokens,
  CAST("output_toks" AS BIGINT) AS output_tokens,
  "request_id" AS extra_request_id,
  CAST((CAST("last_token_ts" AS DECIMAL(30, 9)) - CAST("queued_ts" AS DECIMAL(30, 9))) * 1000000000 AS BIGINT) AS elapsed_ns
FROM source
