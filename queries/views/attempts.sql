-- name: attempts
-- purpose: one row an attempt at a request, warm-ups included, with its latencies
-- input: timed_requests, first_chunks
-- columns (unit): those of the table `requests`, each point in time with X_utc beside it, begun_ns (ns), answered_ns (ns), outcome_ns (ns), and input_tokens, input_tokens_source, output_tokens, output_tokens_source, is_usage_refuted, first_chunk_tokens, first_chunk_source, end_tokens, streamed_tokens, ttft_ns (ns), ttft_intended_ns (ns), ttfa_ns (ns), tpot_ns (ns), e2el_ns (ns), e2el_intended_ns (ns), slip_ns (ns)
-- notes: output_tokens is the first of these that is known: usage, where it is not refuted; ids; the number of chunks, where that is the limit that was asked for and the server ended at it; the tokenizer's count; the number of chunks
--   usage is refuted where it is 0 beside tokens that came, and where it is above the limit that was asked for while no more chunks came than that; one chunk alone refutes nothing
--   a prompt has a token at least: usage of 0 for one is not believed; nor is that of an answer with more tokens than could be, which somebody made up as a whole
--   end_tokens came to be after the last token-bearing chunk: by ids or running usage; else 1, the end-of-text token, where usage counts and a finish of `stop` or `tool_calls` came in an event without a token
--   tpot is over the streamed tokens but those of the first chunk and the end tokens; null where these are none, where the first and the last chunk came in one read, and where tokens came in a field that is not read
--   reasoning tokens leave the streamed tokens when the server counted some and streamed none; a running usage has them in the first chunk already
--   a duration whose end lies before its start is null, never negative; only slip keeps its sign
--   a retry has no slip, nor has a request that was sent again: it is late by what was tried before
--   an answer without a stream, or without a token in it, has no token times: its e2el ends at end_ns; begun_ns, answered_ns and outcome_ns are defined in timed_requests
WITH held AS (
  SELECT
    *,
    coalesce(
      usage_output_tokens > max_output_tokens AND chunk_count <= max_output_tokens
        AND (chunk_count > 1 OR output_tokens_counted IS NOT NULL OR ids_output_tokens IS NOT NULL),
      false
    ) AS is_usage_too_high
  FROM timed_requests
),
believed AS (
  SELECT
    r.*,
    r.is_usage_too_high OR coalesce(r.usage_output_tokens = 0 AND r.chunk_count > 0, false) AS is_usage_refuted,
    CASE
      WHEN NOT r.is_usage_too_high AND (r.usage_input_tokens > 0 OR coalesce(r.input_tokens_planned, 0) = 0)
      THEN r.usage_input_tokens
    END AS believed_input_tokens,
    f.first_chunk_source,
    f.has_reasoning,
    coalesce(f.first_chunk_tokens, CASE WHEN r.chunk_count > 0 THEN 1 END) AS first_chunk_tokens
  FROM held r
  LEFT JOIN first_chunks f
    ON f.run = r.run AND f.request_id = r.request_id AND f.attempt = r.attempt
),
counted AS (
  SELECT
    *,
    coalesce(believed_input_tokens, input_tokens_counted) AS input_tokens,
    CASE
      WHEN believed_input_tokens IS NOT NULL THEN 'usage'
      WHEN input_tokens_counted IS NOT NULL THEN 'tokenizer'
    END AS input_tokens_source,
    CASE
      WHEN usage_output_tokens IS NOT NULL AND NOT is_usage_refuted THEN 'usage'
      WHEN ids_output_tokens IS NOT NULL THEN 'ids'
      WHEN chunk_count > 0 AND chunk_count = max_output_tokens AND finish_reason = 'length' THEN 'chunks'
      WHEN output_tokens_counted IS NOT NULL THEN 'tokenizer'
      WHEN chunk_count > 0 THEN 'chunks'
    END AS output_tokens_source
  FROM believed
),
resolved AS (
  SELECT
    *,
    CASE output_tokens_source
      WHEN 'usage' THEN usage_output_tokens
      WHEN 'ids' THEN ids_output_tokens
      WHEN 'tokenizer' THEN output_tokens_counted
      WHEN 'chunks' THEN chunk_count
    END AS output_tokens,
    CASE
      WHEN output_tokens_source = 'usage' AND NOT coalesce(has_reasoning, false)
      THEN coalesce(usage_reasoning_tokens, 0)
      ELSE 0
    END AS unseen_tokens,
    coalesce(
      CASE WHEN output_tokens_source IN ('usage', 'ids') THEN tokens_after_last END,
      CASE WHEN output_tokens_source = 'usage' AND has_lone_finish AND finish_reason IN ('stop', 'tool_calls') THEN 1 END,
      0
    ) AS end_tokens
  FROM counted
),
paced AS (
  SELECT
    *,
    output_tokens - first_chunk_tokens - end_tokens
      - CASE WHEN first_chunk_source = 'usage' THEN 0 ELSE unseen_tokens END AS paced_tokens
  FROM resolved
)
SELECT
  * EXCEPT (is_usage_too_high, believed_input_tokens, has_reasoning, unseen_tokens, paced_tokens),
  output_tokens - unseen_tokens AS streamed_tokens,
  CASE WHEN first_token_ns >= sent_ns THEN first_token_ns - sent_ns END AS ttft_ns,
  CASE WHEN first_token_ns >= intended_ns THEN first_token_ns - intended_ns END AS ttft_intended_ns,
  CASE WHEN first_answer_ns >= sent_ns THEN first_answer_ns - sent_ns END AS ttfa_ns,
  CASE
    WHEN last_token_ns > first_token_ns AND paced_tokens > 0 AND coalesce(unread_events, 0) = 0
    THEN CAST(last_token_ns - first_token_ns AS DOUBLE) / paced_tokens
  END AS tpot_ns,
  CASE WHEN answered_ns >= sent_ns THEN answered_ns - sent_ns END AS e2el_ns,
  CASE WHEN answered_ns >= intended_ns THEN answered_ns - intended_ns END AS e2el_intended_ns,
  CASE
    WHEN attempt = 0 AND coalesce(resends, 0) = 0 THEN sent_ns - intended_ns - queued_ns - coalesce(connect_ns, 0)
  END AS slip_ns
FROM paced
