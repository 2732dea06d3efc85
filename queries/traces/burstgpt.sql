-- name: burstgpt
-- purpose: BurstGPT: ChatGPT and GPT-4 traffic of a campus, with or without sessions
-- requires: Timestamp, Model, Request tokens, Response tokens, Log Type
-- optional: Session ID, Elapsed time
-- rejects:
-- quantum: 1s
-- ordered: yes
-- clock: relative
-- tested on: real rows
-- block: none
-- units: Timestamp in whole seconds since an unnamed midnight, not from zero
-- units: Elapsed time in whole seconds to the last token
-- notes: A failed request has 0 response tokens. The two column layouts differ in Session ID and
-- notes: Elapsed time, which stand in the middle. Equal rows are real traffic and stay.
SELECT
  CAST(CAST("Timestamp" AS DECIMAL(20, 9)) * 1000000000 AS BIGINT) AS arrival_ns,
  CAST("Request tokens" AS BIGINT) AS input_tokens,
  CAST("Response tokens" AS BIGINT) AS output_tokens,
  NULLIF("Session ID", '') AS session_id,
  "Model" AS model,
  CASE "Log Type"
    WHEN 'Conversation log' THEN 'conversation'
    WHEN 'API log' THEN 'api'
    ELSE "Log Type"
  END AS class,
  CAST("Response tokens" AS BIGINT) = 0 AS failed,
  CAST(CAST("Elapsed time" AS DECIMAL(20, 9)) * 1000000000 AS BIGINT) AS elapsed_ns
FROM source
