-- name: otlp
-- purpose: OpenTelemetry spans of generative AI calls, as OTLP JSON lines
-- requires: resourceSpans.scopeSpans.spans.startTimeUnixNano
-- rejects:
-- quantum: 1ns
-- ordered: no
-- clock: absolute
-- block: none
-- tested on: published schema
-- like: {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "t", "spanId": "s", "startTimeUnixNano": "0", "endTimeUnixNano": "0", "status": {"code": "0"}, "attributes": "[]"}]}]}]}
-- raw: resourceSpans.scopeSpans.spans.attributes
-- units: startTimeUnixNano and endTimeUnixNano in nanoseconds since 1970
-- notes: A span with gen_ai.usage.input_tokens or gen_ai.usage.prompt_tokens is a request; others
-- notes: are left out. Its session is gen_ai.conversation.id, or else its trace. A span with an
-- notes: error status, or without output tokens, is marked as failed.
WITH resources AS (
  SELECT unnest("resourceSpans") AS resource
  FROM source
),
scopes AS (
  SELECT unnest(resource['scopeSpans']) AS scope
  FROM resources
),
spans AS (
  SELECT unnest(scope['spans']) AS span
  FROM scopes
),
calls AS (
  SELECT
    span,
    regexp_match(span['attributes'], '"key":"gen_ai\.usage\.(?:input|prompt)_tokens","value":\{"[a-z]+Value":"?([0-9]+)')[1] AS input,
    regexp_match(span['attributes'], '"key":"gen_ai\.usage\.(?:output|completion)_tokens","value":\{"[a-z]+Value":"?([0-9]+)')[1] AS output,
    regexp_match(span['attributes'], '"key":"gen_ai\.(?:request|response)\.model","value":\{"stringValue":"([^"]*)"')[1] AS model,
    regexp_match(span['attributes'], '"key":"gen_ai\.conversation\.id","value":\{"stringValue":"([^"]*)"')[1] AS conversation,
    regexp_match(span['attributes'], '"key":"gen_ai\.operation\.name","value":\{"stringValue":"([^"]*)"')[1] AS operation
  FROM spans
)
SELECT
  CAST(span['startTimeUnixNano'] AS BIGINT) AS arrival_ns,
  CAST(input AS BIGINT) AS input_tokens,
  CAST(output AS BIGINT) AS output_tokens,
  coalesce(conversation, span['traceId']) AS session_id,
  CAST(span['endTimeUnixNano'] AS BIGINT) - CAST(span['startTimeUnixNano'] AS BIGINT) AS elapsed_ns,
  model AS model,
  operation AS class,
  coalesce(CAST(output AS BIGINT), 0) = 0
    OR coalesce(span['status']['code'], '') IN ('2', 'STATUS_CODE_ERROR') AS failed,
  span['spanId'] AS extra_span_id
FROM calls
WHERE input IS NOT NULL
