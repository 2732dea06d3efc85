-- name: mooncake-sessions
-- purpose: Mooncake's extended form: turns by session, with pauses, and with messages where there are some
-- requires: output_length
-- requires one of: delay, messages, text_input, payload
-- optional: session_id, timestamp, delay, input_length, text_input, message_mode
-- raw: messages, payload.messages
-- like: {"hash_ids": [0], "messages": "[]", "payload": {"messages": "[]", "prompt": "p"}}
-- body: tools, tool_choice, response_format, chat_template_kwargs, temperature, top_p, seed, stop, payload.*, extra.*
-- rejects: chat_id, parent_chat_id, hash_ids.user_input
-- quantum: 1ms
-- ordered: no
-- clock: relative
-- block: 512 tokens, the last block of a prompt may be shorter; an id is the same block anywhere in the trace
-- tested on: published schema
-- units: timestamp in milliseconds from the start
-- units: delay in milliseconds since the end of the session's previous reply
-- notes: A session's first row has a timestamp, or starts at 0 with neither; later rows may have a delay in its place.
-- notes: messages, text_input and payload are sent as they are, and so are tools, response_format, extra
-- notes: and the like. Each row holds its whole conversation, unless its message_mode is delta, or its
-- notes: blocks are others than those of the rows before it in its session: then it holds what is new.
-- notes: A row of messages needs no input_length.
SELECT
  CASE
    WHEN "timestamp" IS NULL AND "delay" IS NULL THEN 0
    ELSE CAST(CAST("timestamp" AS DECIMAL(30, 6)) * 1000000 AS BIGINT)
  END AS arrival_ns,
  CAST("input_length" AS BIGINT) AS input_tokens,
  CAST("output_length" AS BIGINT) AS output_tokens,
  "session_id" AS session_id,
  CAST(CAST("delay" AS DECIMAL(30, 6)) * 1000000 AS BIGINT) AS think_ns,
  "hash_ids" AS prefix_blocks,
  512 AS block_size,
  'trace' AS block_scope,
  coalesce("text_input", "payload"['prompt']) AS prompt,
  coalesce("messages", "payload"['messages']) AS messages,
  CASE "message_mode" WHEN 'delta' THEN TRUE WHEN 'history' THEN FALSE END AS new_only
FROM source
