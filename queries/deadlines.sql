-- name: deadlines
-- purpose: how many tokens came in time for a reader, and for the goals
-- input: smoothness, settings, runs
-- columns (unit): run, reader_tps (tokens/s), n (requests), tokens (tokens), in_time_share (share), kept_up_share (share), in_time_p10 (share), deadlines (deadlines), fluidity (share), fluidity_p50 (share), fluidity_p10 (share), fluidity_p1 (share), fluid_share (share)
-- notes: of the requests in latency_scope that streamed a token; smoothness says how each deadline is set
--   the reader begins with the first token and reads `--reader` tokens a second, 5 unless said: silent reading of English is 238 words a minute (Brysbaert 2019), or about 5 tokens a second at 0.75 words a token
--   in_time_share pools all tokens; kept_up_share is of the requests all of whose tokens came in time; in_time_p10 is the share that nine in ten requests reach
--   fluidity is null without goals on both ttft and tpot; the pooled one is deadlines met ÷ deadlines of all requests, the percentiles are of one value a request, and fluid_share is of the requests of at least 0.9
-- defines: in_time (share): tokens that came no later than a reader of a constant speed needs them
--   fluidity (share): the fluidity index of Etalon (arXiv 2407.07000): deadlines met ÷ all deadlines, where being early counts for later tokens and a late token starts the deadlines anew
WITH shares AS (
  SELECT
    run, tokens, read_in_time, deadlines, deadlines_missed,
    CAST(read_in_time AS DOUBLE) / nullif(tokens, 0) AS in_time,
    CAST(deadlines - deadlines_missed AS DOUBLE) / nullif(deadlines, 0) AS fluidity
  FROM smoothness
),
statistics AS (
  SELECT
    run,
    count(*) AS n,
    sum(tokens) AS tokens,
    CAST(sum(read_in_time) AS DOUBLE) / nullif(sum(tokens), 0) AS in_time_share,
    avg(CASE WHEN read_in_time = tokens THEN 1.0 ELSE 0.0 END) AS kept_up_share,
    percentile_cont(0.1) WITHIN GROUP (ORDER BY in_time) AS in_time_p10,
    sum(deadlines) AS deadlines,
    CAST(sum(deadlines) - sum(deadlines_missed) AS DOUBLE) / nullif(sum(deadlines), 0) AS fluidity,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY fluidity) AS fluidity_p50,
    percentile_cont(0.1) WITHIN GROUP (ORDER BY fluidity) AS fluidity_p10,
    percentile_cont(0.01) WITHIN GROUP (ORDER BY fluidity) AS fluidity_p1,
    avg(CASE WHEN fluidity >= 0.9 THEN 1.0 WHEN fluidity < 0.9 THEN 0.0 END) AS fluid_share
  FROM shares
  GROUP BY run
)
SELECT
  t.run, s.reader_tps, t.n, t.tokens, t.in_time_share, t.kept_up_share, t.in_time_p10,
  t.deadlines, t.fluidity, t.fluidity_p50, t.fluidity_p10, t.fluidity_p1, t.fluid_share
FROM statistics t
CROSS JOIN settings s
JOIN runs r ON r.run = t.run
ORDER BY r.run_index
