-- name: aibrix
-- purpose: AIBrix workloads: several requests a line, with their prompts
-- requires: timestamp, requests.Prompt Length, requests.Output Length
-- rejects: id, turns
-- quantum: 1ms
-- ordered: yes
-- clock: relative
-- block: none
-- tested on: real rows
-- like: {"requests": [{"Prompt Length": "0", "Output Length": "0", "prompt": "p", "session_id": "s"}]}
-- units: timestamp in milliseconds from the start
-- notes: The requests of one line arrive together. Prompts are sent as they are.
WITH calls AS (
  SELECT "timestamp", unnest("requests") AS call
  FROM source
)
SELECT
  CAST(CAST("timestamp" AS DECIMAL(30, 6)) * 1000000 AS BIGINT) AS arrival_ns,
  CAST(call['Prompt Length'] AS BIGINT) AS input_tokens,
  CAST(call['Output Length'] AS BIGINT) AS output_tokens,
  call['session_id'] AS session_id,
  call['prompt'] AS prompt
FROM calls
