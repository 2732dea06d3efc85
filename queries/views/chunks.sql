-- name: chunks
-- purpose: one row a streamed event; a chunk is not a token
-- input: tape_chunks
-- columns (unit): those of the table `chunks`, arrival_utc, and is_token_bearing
-- notes: tokens of an event with a token are 1 where nobody tells (tokens_source `event`), also on older tapes, which leave both null there
SELECT
  * REPLACE (
    CASE WHEN channel IN ('content', 'reasoning', 'tool', 'refusal', 'audio') THEN coalesce(tokens, 1) END AS tokens,
    CASE
      WHEN channel IN ('content', 'reasoning', 'tool', 'refusal', 'audio') THEN coalesce(tokens_source, 'event')
    END AS tokens_source
  ),
  channel IN ('content', 'reasoning', 'tool', 'refusal', 'audio') AS is_token_bearing
FROM tape_chunks
