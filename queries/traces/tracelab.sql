-- name: tracelab
-- purpose: TraceLab: rounds of coding agents, with how much of each prompt was new
-- requires: session_id, round_index, input_tokens_total, prefix_tokens, output_tokens, timing_events
-- optional: model, provider
-- rejects:
-- quantum: 1ms
-- ordered: no
-- clock: absolute
-- block: 16 tokens, made from prefix_tokens: a prompt begins with as much of the session's previous one
-- tested on: real rows
-- raw: timing_events
-- session prompts: whole
-- units: timestamps of timing_events as dates and times with milliseconds
-- notes: A round arrives with its last input, such as a tool's result, and lasts until its last
-- notes: event. Rounds without output are marked as failed. No key of a round is unique, so rounds
-- notes: follow each other in the order of the file.
WITH rounds AS (
  SELECT
    *,
    regexp_match("timing_events", '.*"event_type":"(?:user_message|tool_result)"[^}]*"timestamp":"([^"]+)"')[1] AS last_input,
    regexp_match("timing_events", '"timestamp":"([^"]+)"')[1] AS first_event,
    regexp_match("timing_events", '.*"timestamp":"([^"]+)"')[1] AS last_event
  FROM source
),
times AS (
  SELECT
    *,
    CAST(CAST(coalesce(last_input, first_event) AS TIMESTAMP) AS BIGINT) AS starts_ns,
    CAST(CAST(last_event AS TIMESTAMP) AS BIGINT) AS ends_ns
  FROM rounds
)
SELECT
  starts_ns AS arrival_ns,
  CAST("input_tokens_total" AS BIGINT) AS input_tokens,
  CAST("output_tokens" AS BIGINT) AS output_tokens,
  "session_id" AS session_id,
  greatest(ends_ns - starts_ns, 0) AS elapsed_ns,
  CAST("prefix_tokens" AS BIGINT) AS prefix_tokens,
  "model" AS model,
  "provider" AS class,
  coalesce(CAST("output_tokens" AS BIGINT), 0) = 0 AS failed
FROM times
