-- name: slo_results
-- purpose: every measured request with whether it met each goal
-- input: requests, runs, goals
-- columns (unit): run, request_id, attempt, status, intended_ns (ns), goals_from_ns (ns), begun_ns (ns), first_token_ns (ns), answered_ns (ns), input_tokens (tokens), output_tokens (tokens), tpot_ns (ns), is_ok, owed_tokens (tokens), meets_ttft, meets_tpot, meets_e2el, is_good, is_judged
-- notes: is_judged is false where the client hung up, as it was asked to: nobody knows whether the request would have met a goal
--   one that is not ok meets no goal; a goal that was not set is met by every request that is ok
--   goals_from_ns is when the goals on ttft and e2el count from: the intended time or the send time, as runs.slo_from says; of a request that took more than one attempt always the intended time, since its send is that of the last one
--   a request too short to have a tpot passes that goal
--   owed_tokens are its output tokens; one that is not ok owes what was planned for it, or what it streamed if that is more
WITH begun AS (
  SELECT
    q.*,
    q.status = 'ok' AS is_ok,
    q.error_kind IS DISTINCT FROM 'hung_up' AS is_judged,
    CASE
      WHEN q.status = 'ok' THEN q.output_tokens
      ELSE greatest(CAST(q.output_tokens_planned AS BIGINT), q.output_tokens)
    END AS owed_tokens,
    CASE WHEN r.slo_from = 'intended' OR q.attempt > 0 THEN q.intended_ns ELSE q.sent_ns END AS goals_from_ns
  FROM requests q
  JOIN runs r ON r.run = q.run
),
held AS (
  SELECT
    b.*,
    g.ttft_ns IS NULL OR coalesce(b.first_token_ns - b.goals_from_ns BETWEEN 0 AND g.ttft_ns, false) AS is_ttft_in,
    g.tpot_ns IS NULL OR coalesce(b.tpot_ns <= g.tpot_ns, true) AS is_tpot_in,
    g.e2el_ns IS NULL OR coalesce(b.answered_ns - b.goals_from_ns BETWEEN 0 AND g.e2el_ns, false) AS is_e2el_in
  FROM begun b
  CROSS JOIN goals g
)
SELECT
  run, request_id, attempt, status, intended_ns, goals_from_ns, begun_ns, first_token_ns, answered_ns,
  input_tokens, output_tokens, tpot_ns, is_ok, owed_tokens,
  is_ok AND is_ttft_in AS meets_ttft,
  is_ok AND is_tpot_in AS meets_tpot,
  is_ok AND is_e2el_in AS meets_e2el,
  is_ok AND is_ttft_in AND is_tpot_in AND is_e2el_in AS is_good,
  is_judged
FROM held
