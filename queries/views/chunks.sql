-- name: chunks
-- purpose: one row a streamed event; a chunk is not a token
-- input: tape_chunks
-- columns (unit): those of the table `chunks`, arrival_utc, and is_token_bearing
-- notes: is_token_bearing says which channels carry generated tokens; nothing else in SQL lists them
--   tokens of an event with a token are 1 where nobody tells (tokens_source `event`), also on older tapes, which leave both null there
WITH marked AS (
  SELECT *, channel IN ('content', 'reasoning', 'tool', 'refusal', 'audio') AS is_token_bearing FROM tape_chunks
)
SELECT
  * REPLACE (
    CASE WHEN is_token_bearing THEN coalesce(tokens, 1) END AS tokens,
    CASE WHEN is_token_bearing THEN coalesce(tokens_source, 'event') END AS tokens_source
  )
FROM marked
