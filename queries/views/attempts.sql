-- name: attempts
-- purpose: one row an attempt at a request, warm-ups included, with its latencies
-- input: tape_requests, first_chunks
-- columns (unit): those of the table `requests`, each point in time with X_utc beside it, and input_tokens, input_tokens_source, output_tokens, output_tokens_source, first_chunk_tokens, streamed_tokens, ttft_ns (ns), ttft_intended_ns (ns), ttfa_ns (ns), tpot_ns (ns), e2el_ns (ns), e2el_intended_ns (ns), slip_ns (ns)
-- notes: a duration whose end lies before its start is null, never negative; only slip keeps its sign
--   a retry has no slip: it is late by what the attempts before it took
--   reasoning tokens leave tpot's divisor when the server counted some and streamed none
--   an answer without a stream has no token times: its e2el ends at end_ns
WITH resolved AS (
  SELECT
    r.*,
    CAST(coalesce(r.usage_input_tokens, r.input_tokens_counted) AS BIGINT) AS input_tokens,
    CASE
      WHEN r.usage_input_tokens IS NOT NULL THEN 'usage'
      WHEN r.input_tokens_counted IS NOT NULL THEN 'tokenizer'
    END AS input_tokens_source,
    CAST(coalesce(r.usage_output_tokens, r.output_tokens_counted, nullif(r.chunk_count, 0)) AS BIGINT)
      AS output_tokens,
    CASE
      WHEN r.usage_output_tokens IS NOT NULL THEN 'usage'
      WHEN r.output_tokens_counted IS NOT NULL THEN 'tokenizer'
      WHEN r.chunk_count > 0 THEN 'chunks'
    END AS output_tokens_source,
    CASE
      WHEN r.usage_output_tokens IS NOT NULL AND NOT coalesce(f.has_reasoning, false)
      THEN coalesce(CAST(r.usage_reasoning_tokens AS BIGINT), 0)
      ELSE 0
    END AS unseen_tokens,
    coalesce(f.first_chunk_tokens, CASE WHEN r.chunk_count > 0 THEN 1 END) AS first_chunk_tokens,
    coalesce(r.last_token_ns, CASE WHEN r.status = 'ok' THEN r.end_ns END) AS answered_ns
  FROM tape_requests r
  LEFT JOIN first_chunks f
    ON f.run = r.run AND f.request_id = r.request_id AND f.attempt = r.attempt
)
SELECT
  * EXCEPT (unseen_tokens, answered_ns),
  output_tokens - unseen_tokens AS streamed_tokens,
  CASE WHEN first_token_ns >= sent_ns THEN first_token_ns - sent_ns END AS ttft_ns,
  CASE WHEN first_token_ns >= intended_ns THEN first_token_ns - intended_ns END AS ttft_intended_ns,
  CASE WHEN first_answer_ns >= sent_ns THEN first_answer_ns - sent_ns END AS ttfa_ns,
  CASE
    WHEN last_token_ns >= first_token_ns AND output_tokens - unseen_tokens > first_chunk_tokens
    THEN CAST(last_token_ns - first_token_ns AS DOUBLE)
      / (output_tokens - unseen_tokens - first_chunk_tokens)
  END AS tpot_ns,
  CASE WHEN answered_ns >= sent_ns THEN answered_ns - sent_ns END AS e2el_ns,
  CASE WHEN answered_ns >= intended_ns THEN answered_ns - intended_ns END AS e2el_intended_ns,
  CASE WHEN attempt = 0 THEN sent_ns - intended_ns - queued_ns - coalesce(connect_ns, 0) END AS slip_ns
FROM resolved
