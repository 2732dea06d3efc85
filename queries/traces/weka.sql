-- name: weka
-- purpose: WEKA kv-cache-tester: agentic coding conversations, one a file, with think times and sub-agents
-- requires: id, block_size, requests.t, requests.in, requests.out
-- rejects:
-- quantum: 1ms
-- ordered: no
-- clock: absolute
-- block: tokens by block_size, only whole blocks are listed; an id is the same block inside one conversation, or anywhere where hash_id_scope is global
-- tested on: real rows
-- optional: hash_id_scope
-- like: {"requests": [{"t": "0", "type": "n", "model": "m", "in": "0", "out": "0", "hash_ids": [0], "api_time": "0", "think_time": "0", "agent_id": "a", "subagent_type": "t", "requests": [{"t": "0", "type": "n", "model": "m", "in": "0", "out": "0", "hash_ids": [0], "api_time": "0", "think_time": "0"}]}]}
-- session prompts: whole
-- units: t, api_time and think_time in seconds; t from the start of the conversation
-- notes: Every conversation starts at 0; a folder or a glob reads many. Requests of a sub-agent are
-- notes: turns of the conversation that started it, with the sub-agent's kind as their class. A
-- notes: request without output is marked as failed.
WITH entries AS (
  SELECT "id", "block_size", "hash_id_scope", unnest("requests") AS entry
  FROM source
),
calls AS (
  SELECT
    "id",
    "block_size",
    "hash_id_scope",
    entry,
    unnest(CASE WHEN entry['type'] = 'subagent' THEN entry['requests'] ELSE [NULL] END) AS inner_call
  FROM entries
),
flat AS (
  SELECT
    "id",
    "block_size",
    "hash_id_scope",
    CASE WHEN entry['type'] = 'subagent' THEN coalesce(entry['subagent_type'], 'subagent') END AS class,
    coalesce(inner_call['t'], entry['t']) AS t,
    coalesce(inner_call['in'], entry['in']) AS input,
    coalesce(inner_call['out'], entry['out']) AS output,
    coalesce(inner_call['model'], entry['model']) AS model,
    coalesce(inner_call['api_time'], entry['api_time']) AS api_time,
    coalesce(inner_call['think_time'], entry['think_time']) AS think_time,
    CASE WHEN entry['type'] = 'subagent' THEN inner_call['hash_ids'] ELSE entry['hash_ids'] END AS blocks
  FROM calls
)
SELECT
  CAST(CAST(t AS DECIMAL(30, 9)) * 1000000000 AS BIGINT) AS arrival_ns,
  CAST(input AS BIGINT) AS input_tokens,
  CAST(output AS BIGINT) AS output_tokens,
  "id" AS session_id,
  CAST(CAST(think_time AS DECIMAL(30, 9)) * 1000000000 AS BIGINT) AS think_ns,
  CAST(CAST(api_time AS DECIMAL(30, 9)) * 1000000000 AS BIGINT) AS elapsed_ns,
  blocks AS prefix_blocks,
  CAST("block_size" AS BIGINT) AS block_size,
  CASE WHEN "hash_id_scope" = 'global' THEN 'trace' ELSE 'session' END AS block_scope,
  model AS model,
  class AS class,
  coalesce(CAST(output AS BIGINT), 0) = 0 OR coalesce(CAST(input AS BIGINT), 0) = 0 AS failed
FROM flat
