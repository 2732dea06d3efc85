-- name: token_counts
-- purpose: whether prompts and answers had the lengths that were asked for, and how surely their tokens are known
-- input: requests, runs
-- columns (unit): run, input_planned (tokens), input_got (tokens), output_planned (tokens), output_got (tokens), input_exact (share), output_exact (share), input_over_min (tokens), input_over_max (tokens), output_short (share), output_cut (share), output_long (share), answers (requests), by_usage (requests), by_ids (requests), by_limit (requests), by_tokenizer (requests), by_chunks (requests), usage_refuted (requests), off (requests), off_ids (requests), off_chunks (requests), off_tokenizer (requests), without_text (requests), input_both (requests), input_by_usage (tokens), input_by_tokenizer (tokens), input_off (requests), placed (share), tokens_a_chunk (tokens), before_first (tokens), before_first_p99 (tokens), after_last (tokens)
-- notes: of the ok requests; each sum and share covers those where both counts are known
--   input_over: tokens of a prompt above what was planned; the same in each is what a chat template adds
--   output_short and output_cut: answers shorter than planned, the latter where a limit ended them
--   by_limit: counted by chunks, as many as the limit at which the server ended; by_chunks are the others
--   off: usage and another count are more than 1 % apart: ids, the tokenizer's, or, where no chunk tells its tokens, chunks with end tokens
--   without_text: no event brought a token, and the server counted some
--   input_both: requests whose prompt the server and the tokenizer counted, each as it says; input_off are those where they are more than 1 % apart
--   placed: answers whose chunks tell how many tokens they hold
--   tokens_a_chunk: streamed tokens by usage ÷ chunks, over the other answers
--   before_first: tokens made before the first token-bearing event, of the answers that are placed; TTFT is later than the server's by what they took
--   after_last: tokens made after the last token-bearing event
WITH answers AS (
  SELECT
    *,
    coalesce(chunk_count = max_output_tokens AND finish_reason = 'length', false) AS is_at_limit,
    output_tokens_source = 'usage' AND first_chunk_source IS NULL AND chunk_count > 0
      AND coalesce(unread_events, 0) = 0 AS is_unplaced,
    coalesce(abs(usage_output_tokens - ids_output_tokens) * 100 > usage_output_tokens, false) AS is_off_ids,
    coalesce(abs(usage_output_tokens - output_tokens_counted) * 100 > usage_output_tokens, false) AS is_off_tokenizer,
    first_chunk_source IS NULL AND chunk_count > 0 AND coalesce(
      abs(usage_output_tokens - output_tokens + streamed_tokens - chunk_count - end_tokens) * 100 > usage_output_tokens,
      false
    ) AS is_off_chunks,
    CASE WHEN input_tokens_source = 'usage' AND input_tokens_counted IS NOT NULL THEN input_tokens END AS input_both,
    input_tokens - input_tokens_planned AS input_over,
    output_tokens - output_tokens_planned AS output_over,
    CASE WHEN first_chunk_source IS NOT NULL THEN first_chunk_tokens - 1 END AS held_back
  FROM requests
  WHERE status = 'ok'
),
counts AS (
  SELECT
    run,
    sum(input_tokens_planned) FILTER (WHERE input_tokens IS NOT NULL) AS input_planned,
    sum(input_tokens) FILTER (WHERE input_tokens_planned IS NOT NULL) AS input_got,
    sum(output_tokens_planned) FILTER (WHERE output_tokens IS NOT NULL) AS output_planned,
    sum(output_tokens) FILTER (WHERE output_tokens_planned IS NOT NULL) AS output_got,
    avg(CASE WHEN input_over = 0 THEN 1.0 WHEN input_over <> 0 THEN 0.0 END) AS input_exact,
    avg(CASE WHEN output_over = 0 THEN 1.0 WHEN output_over <> 0 THEN 0.0 END) AS output_exact,
    min(input_over) AS input_over_min,
    max(input_over) AS input_over_max,
    avg(CASE WHEN output_over < 0 AND finish_reason IS DISTINCT FROM 'length' THEN 1.0 WHEN output_over IS NOT NULL THEN 0.0 END)
      AS output_short,
    avg(CASE WHEN output_over < 0 AND finish_reason = 'length' THEN 1.0 WHEN output_over IS NOT NULL THEN 0.0 END)
      AS output_cut,
    avg(CASE WHEN output_over > 0 THEN 1.0 WHEN output_over <= 0 THEN 0.0 END) AS output_long,
    count(*) AS answers,
    count(*) FILTER (WHERE output_tokens_source = 'usage') AS by_usage,
    count(*) FILTER (WHERE output_tokens_source = 'ids') AS by_ids,
    count(*) FILTER (WHERE output_tokens_source = 'chunks' AND is_at_limit) AS by_limit,
    count(*) FILTER (WHERE output_tokens_source = 'tokenizer') AS by_tokenizer,
    count(*) FILTER (WHERE output_tokens_source = 'chunks' AND NOT is_at_limit) AS by_chunks,
    count(*) FILTER (WHERE is_usage_refuted) AS usage_refuted,
    count(*) FILTER (WHERE is_off_ids OR is_off_chunks OR is_off_tokenizer) AS off,
    count(*) FILTER (WHERE is_off_ids) AS off_ids,
    count(*) FILTER (WHERE is_off_chunks) AS off_chunks,
    count(*) FILTER (WHERE is_off_tokenizer) AS off_tokenizer,
    count(*) FILTER (WHERE chunk_count = 0 AND output_tokens > 0) AS without_text,
    count(input_both) AS input_both,
    sum(input_both) AS input_by_usage,
    sum(input_tokens_counted) FILTER (WHERE input_both IS NOT NULL) AS input_by_tokenizer,
    count(*) FILTER (WHERE abs(input_both - input_tokens_counted) * 100 > input_both) AS input_off,
    avg(CASE WHEN chunk_count = 0 THEN NULL WHEN first_chunk_source IS NULL THEN 0.0 ELSE 1.0 END) AS placed,
    CAST(sum(streamed_tokens - end_tokens) FILTER (WHERE is_unplaced) AS DOUBLE)
      / sum(chunk_count) FILTER (WHERE is_unplaced) AS tokens_a_chunk,
    avg(held_back) AS before_first,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY held_back) AS before_first_p99,
    avg(CASE WHEN chunk_count > 0 THEN end_tokens END) AS after_last
  FROM answers
  GROUP BY run
)
SELECT c.*
FROM counts c
JOIN runs r ON r.run = c.run
ORDER BY r.run_index
