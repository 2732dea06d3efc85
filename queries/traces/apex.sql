-- name: apex
-- purpose: apex_plus: requests of the simulator APEX, with their prompts
-- requires: ContextTokens, GeneratedTokens, StartTimeOffset, SynthesizedBody
-- rejects: TIMESTAMP
-- quantum: 1ns
-- ordered: yes
-- clock: relative
-- block: none
-- tested on: published schema
-- units: StartTimeOffset in nanoseconds from the start
-- notes: SynthesizedBody is sent as it is, as the project's own client does, also where it is a
-- notes: message that is written down as text.
SELECT
  CAST("StartTimeOffset" AS BIGINT) AS arrival_ns,
  CAST("ContextTokens" AS BIGINT) AS input_tokens,
  CAST("GeneratedTokens" AS BIGINT) AS output_tokens,
  "SynthesizedBody" AS prompt
FROM source
