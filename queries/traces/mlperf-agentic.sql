-- name: mlperf-agentic
-- purpose: MLPerf's agentic inference: a message of a conversation a line
-- requires: conversation_id, turn, role
-- requires one of: content, tool_results
-- optional: delay_seconds, model, max_completion_tokens, max_new_tokens, max_tokens, content, system, name, tool_calls, tool_results, reasoning_content
-- raw: content, system, name, tool_calls, tool_results, reasoning_content
-- lines: messages
-- body: tools, tool_choice, response_format
-- rejects: messages
-- quantum: 1ms
-- ordered: no
-- clock: absolute
-- block: none
-- session prompts: new
-- tested on: real rows
-- units: delay_seconds in seconds since the end of the conversation's previous reply
-- notes: A line of a user or of a tool is a request, with all messages before it in its conversation,
-- notes: replies as the trace has them. The lines of a conversation stand one behind the other; each
-- notes: conversation starts at 0. Without a limit of its own, a request is sent without one.
WITH said AS (
  SELECT
    *,
    lag("conversation_id") OVER () AS conversation_before,
    lag("role") OVER () AS role_before,
    lag("__message") OVER () AS message_before
  FROM source
)
SELECT
  CASE
    WHEN conversation_before IS NULL OR conversation_before <> "conversation_id"
    THEN coalesce(CAST(CAST("delay_seconds" AS DECIMAL(30, 9)) * 1000000000 AS BIGINT), 0)
  END AS arrival_ns,
  CAST(NULL AS BIGINT) AS input_tokens,
  coalesce(
    CAST("max_new_tokens" AS BIGINT),
    CAST("max_completion_tokens" AS BIGINT),
    CAST("max_tokens" AS BIGINT)
  ) AS output_tokens,
  "conversation_id" AS session_id,
  CASE
    WHEN conversation_before = "conversation_id"
    THEN coalesce(CAST(CAST("delay_seconds" AS DECIMAL(30, 9)) * 1000000000 AS BIGINT), 0)
  END AS think_ns,
  "model" AS model,
  "role" AS class,
  CASE
    WHEN conversation_before = "conversation_id" AND role_before = 'assistant'
    THEN concat(substr(message_before, 1, length(message_before) - 1), ',', substr("__message", 2))
    ELSE "__message"
  END AS messages,
  TRUE AS new_only,
  FALSE AS failed
FROM said
WHERE "role" IN ('user', 'tool')
