-- name: otel-spans
-- purpose: OpenTelemetry spans of generative AI calls, one trace a document, as inference-perf reads them
-- requires: spans.start_time, spans.attributes
-- raw: spans.status
-- like: {"spans": [{"trace_id": "t", "span_id": "s", "start_time": "2026-01-01T00:00:00", "end_time": "2026-01-01T00:00:00", "status": "{}", "attributes": {"gen_ai.usage.input_tokens": "0", "gen_ai.usage.prompt_tokens": "0", "gen_ai.usage.output_tokens": "0", "gen_ai.usage.completion_tokens": "0", "gen_ai.request.max_tokens": "0", "gen_ai.request.model": "m", "gen_ai.response.model": "m", "gen_ai.operation.name": "chat", "gen_ai.conversation.id": "c", "exgentic.session.id": "c", "gen_ai.input.messages": "[]"}}]}
-- rejects: resourceSpans
-- quantum: 1us
-- ordered: no
-- clock: absolute
-- block: none
-- session prompts: whole
-- tested on: published schema
-- units: start_time and end_time as dates and times with 0 to 9 fraction digits
-- notes: A span with messages or a number of input tokens is a request; others are left out. Messages
-- notes: in the form of OpenAI are sent as they are. The answer's length is what was counted, else the
-- notes: limit that was asked for. A session is gen_ai.conversation.id, else exgentic.session.id, else
-- notes: the trace. A span with an error status is marked as failed.
WITH spans AS (
  SELECT unnest("spans") AS span
  FROM source
),
calls AS (
  SELECT
    span,
    span['attributes'] AS attributes,
    coalesce(
      CAST(span['attributes']['gen_ai.usage.input_tokens'] AS BIGINT),
      CAST(span['attributes']['gen_ai.usage.prompt_tokens'] AS BIGINT)
    ) AS input,
    CASE
      WHEN span['attributes']['gen_ai.input.messages'] NOT LIKE '%"parts"%'
      THEN span['attributes']['gen_ai.input.messages']
    END AS messages
  FROM spans
)
SELECT
  CAST(CAST(span['start_time'] AS TIMESTAMP) AS BIGINT) AS arrival_ns,
  input AS input_tokens,
  coalesce(
    CAST(attributes['gen_ai.usage.output_tokens'] AS BIGINT),
    CAST(attributes['gen_ai.usage.completion_tokens'] AS BIGINT),
    CAST(attributes['gen_ai.request.max_tokens'] AS BIGINT)
  ) AS output_tokens,
  coalesce(
    attributes['gen_ai.conversation.id'],
    attributes['exgentic.session.id'],
    span['trace_id']
  ) AS session_id,
  CAST(CAST(span['end_time'] AS TIMESTAMP) AS BIGINT)
    - CAST(CAST(span['start_time'] AS TIMESTAMP) AS BIGINT) AS elapsed_ns,
  coalesce(attributes['gen_ai.request.model'], attributes['gen_ai.response.model']) AS model,
  attributes['gen_ai.operation.name'] AS class,
  messages AS messages,
  regexp_like(coalesce(span['status'], ''), '^"?(STATUS_CODE_)?ERROR|"code":"?(2|ERROR|STATUS_CODE_ERROR)') AS failed,
  span['span_id'] AS extra_span_id
FROM calls
WHERE input IS NOT NULL OR messages IS NOT NULL
