-- name: prefix_hits
-- purpose: how much of the prompts a prefix cache could have had, and how much the server's had
-- input: shared_tokens, runs
-- columns (unit): run, n (requests), input_planned (tokens), prefix_planned (tokens), ideal_hit (share), n_told (requests), input_told (tokens), cached (tokens), achieved_hit (share)
-- notes: of the ok requests of a run whose schedule has shared prefixes, or whose server had some of a prompt cached
--   hits are shares of tokens; `tokentape trace inspect` counts blocks
--   input_planned and prefix_planned are those of shared_tokens: of conversations what turns had, and what of it the turns before had
--   ideal_hit is what a cache without bound would have, in the order of the schedule, before anything is in it
--   achieved_hit is of those whose server told how many tokens it had; what it has from earlier runs counts too, and so does what a chat template adds
WITH hits AS (
  SELECT
    run,
    count(*) AS n,
    sum(input_tokens) AS input_planned,
    coalesce(sum(shared_tokens), 0) AS prefix_planned,
    count(usage_cached_tokens) FILTER (WHERE usage_input_tokens IS NOT NULL) AS n_told,
    sum(usage_input_tokens) FILTER (WHERE usage_cached_tokens IS NOT NULL) AS input_told,
    sum(usage_cached_tokens) FILTER (WHERE usage_input_tokens IS NOT NULL) AS cached
  FROM shared_tokens
  WHERE status = 'ok'
  GROUP BY run
  HAVING count(shared_tokens) > 0 OR sum(usage_cached_tokens) > 0
)
SELECT
  h.run, h.n, h.input_planned, h.prefix_planned,
  CAST(h.prefix_planned AS DOUBLE) / nullif(h.input_planned, 0) AS ideal_hit,
  h.n_told, h.input_told, h.cached,
  CAST(h.cached AS DOUBLE) / nullif(h.input_told, 0) AS achieved_hit
FROM hits h
JOIN runs r ON r.run = h.run
ORDER BY r.run_index
