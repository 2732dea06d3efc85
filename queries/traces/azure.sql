-- name: azure
-- purpose: Azure LLM inference 2023 and 2024, and multimodal 2025
-- requires: TIMESTAMP, ContextTokens, GeneratedTokens
-- optional: NumImages
-- rejects:
-- quantum: 1us
-- ordered: yes
-- clock: absolute
-- tested on: real rows
-- block: none
-- units: TIMESTAMP as a date and time with 0 to 9 fraction digits, and none, an offset or Z as its zone
-- notes: A time without a zone is read as UTC; only differences matter.
SELECT
  CAST(CAST("TIMESTAMP" AS TIMESTAMP) AS BIGINT) AS arrival_ns,
  CAST("ContextTokens" AS BIGINT) AS input_tokens,
  CAST("GeneratedTokens" AS BIGINT) AS output_tokens,
  CAST("NumImages" AS BIGINT) AS extra_images
FROM source
