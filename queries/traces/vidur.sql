-- name: vidur
-- purpose: Vidur: processed traces of its simulator
-- requires: arrived_at, num_prefill_tokens, num_decode_tokens
-- rejects:
-- quantum: 1us
-- ordered: yes
-- clock: relative
-- block: none
-- tested on: published schema
-- units: arrived_at in seconds from the start, with fractions
SELECT
  CAST(CAST("arrived_at" AS DECIMAL(30, 9)) * 1000000000 AS BIGINT) AS arrival_ns,
  CAST(CAST("num_prefill_tokens" AS DOUBLE) AS BIGINT) AS input_tokens,
  CAST(CAST("num_decode_tokens" AS DOUBLE) AS BIGINT) AS output_tokens
FROM source
