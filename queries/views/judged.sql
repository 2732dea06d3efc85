-- name: judged
-- purpose: every measured request with whether it met each goal
-- input: requests, runs, slos
-- columns (unit): run, request_id, attempt, status, intended_ns (ns), first_token_ns (ns), last_token_ns (ns), end_ns (ns), input_tokens (tokens), output_tokens (tokens), tpot_ns (ns), is_ok, owed_tokens (tokens), meets_ttft, meets_tpot, meets_e2el, is_good
-- notes: one that is not ok meets no goal; a goal that was not set is met by every request that is ok
--   goals on ttft and e2el apply to the form from the intended time or from the send time, as runs.slo_from says
--   a request too short to have a tpot passes that goal
--   owed_tokens are its output tokens; one that is not ok owes what was planned for it, or what it streamed if that is more
WITH goals AS (
  SELECT
    min(limit_ns) FILTER (WHERE metric = 'ttft') AS ttft,
    min(limit_ns) FILTER (WHERE metric = 'tpot') AS tpot,
    min(limit_ns) FILTER (WHERE metric = 'e2el') AS e2el
  FROM slos
),
held AS (
  SELECT
    q.*,
    q.status = 'ok' AS is_ok,
    CASE
      WHEN q.status = 'ok' THEN q.output_tokens
      ELSE greatest(CAST(q.output_tokens_planned AS BIGINT), q.output_tokens)
    END AS owed_tokens,
    g.ttft IS NULL OR coalesce(CASE WHEN r.slo_from = 'intended' THEN q.ttft_intended_ns ELSE q.ttft_ns END <= g.ttft, false) AS is_ttft_in,
    g.tpot IS NULL OR coalesce(q.tpot_ns <= g.tpot, true) AS is_tpot_in,
    g.e2el IS NULL OR coalesce(CASE WHEN r.slo_from = 'intended' THEN q.e2el_intended_ns ELSE q.e2el_ns END <= g.e2el, false) AS is_e2el_in
  FROM requests q
  JOIN runs r ON r.run = q.run
  CROSS JOIN goals g
)
SELECT
  run, request_id, attempt, status, intended_ns, first_token_ns, last_token_ns, end_ns,
  input_tokens, output_tokens, tpot_ns, is_ok, owed_tokens,
  is_ok AND is_ttft_in AS meets_ttft,
  is_ok AND is_tpot_in AS meets_tpot,
  is_ok AND is_e2el_in AS meets_e2el,
  is_ok AND is_ttft_in AND is_tpot_in AND is_e2el_in AS is_good
FROM held
