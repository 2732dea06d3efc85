-- name: evalscope
-- purpose: The workload_trace data of EvalScope: recorded request bodies with their times
-- requires: timestamp, body
-- optional: completion_tokens, request_id
-- raw: body.messages
-- like: {"body": {"model": "m", "messages": "[]", "prompt": "p", "max_tokens": "1", "max_completion_tokens": "1"}}
-- body: body.*
-- rejects: turns, requests
-- quantum: 1ms
-- ordered: no
-- clock: absolute
-- block: none
-- tested on: published schema
-- units: timestamp in seconds from any zero point, with fractions, or as a date and time
-- notes: The messages or the prompt of a body are sent as they are, and so are its other fields, but for
-- notes: those that a replay decides: model, stream and the limit of the answer. That is
-- notes: completion_tokens, else max_completion_tokens or max_tokens; a body without a limit is sent
-- notes: without one. Headers are not sent.
SELECT
  CASE
    WHEN regexp_like("timestamp", '^\s*[+-]?[0-9.]+([eE][+-]?[0-9]+)?\s*$')
    THEN CAST(CAST("timestamp" AS DECIMAL(30, 9)) * 1000000000 AS BIGINT)
    ELSE CAST(CAST("timestamp" AS TIMESTAMP) AS BIGINT)
  END AS arrival_ns,
  CAST(NULL AS BIGINT) AS input_tokens,
  coalesce(
    CAST("completion_tokens" AS BIGINT),
    CAST("body"['max_completion_tokens'] AS BIGINT),
    CAST("body"['max_tokens'] AS BIGINT)
  ) AS output_tokens,
  "request_id" AS extra_request_id,
  "body"['model'] AS model,
  "body"['prompt'] AS prompt,
  "body"['messages'] AS messages,
  FALSE AS failed
FROM source
