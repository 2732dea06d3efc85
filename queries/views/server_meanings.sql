-- name: server_meanings
-- purpose: what the metrics of servers and exporters mean: one word for what each of them has a name of its own for
-- input: none
-- columns (unit): name, server, place (where several servers tell the same, that of the lowest place is taken), kind (gauge, counter, or sum or count of a histogram), quantity, combine (sum or mean over the series of a gauge), scale (what the value is multiplied by)
-- notes: gauges: requests running and waiting, kv_use and gpu_use as shares, gpu_power in watts
--   the prompt tokens of llama.cpp are those that it computed and those that it had cached, which it counts apart
--   counters: requests and tokens, prefix_queries and prefix_hits in tokens of prompts, preemptions
--   histograms: latencies in seconds, from where the server has the request; itl of llama.cpp is its time of generation by its tokens
--   a server behind a gateway tells more than the gateway, whose place is therefore higher
SELECT
  concat(h.base, e.ending) AS name, h.server, h.place, e.kind, h.quantity,
  CAST(NULL AS VARCHAR) AS combine, 1.0 AS scale
FROM (VALUES
  ('vllm:time_to_first_token_seconds', 'vLLM', 1, 'ttft'),
  ('vllm:request_time_per_output_token_seconds', 'vLLM', 1, 'tpot'),
  ('vllm:inter_token_latency_seconds', 'vLLM', 1, 'itl'),
  ('vllm:e2e_request_latency_seconds', 'vLLM', 1, 'e2el'),
  ('vllm:request_queue_time_seconds', 'vLLM', 1, 'queue'),
  ('vllm:request_prefill_time_seconds', 'vLLM', 1, 'prefill'),
  ('vllm:request_decode_time_seconds', 'vLLM', 1, 'decode'),
  ('sglang:time_to_first_token_seconds', 'SGLang', 2, 'ttft'),
  ('sglang:inter_token_latency_seconds', 'SGLang', 2, 'itl'),
  ('sglang:e2e_request_latency_seconds', 'SGLang', 2, 'e2el'),
  ('sglang:queue_time_seconds', 'SGLang', 2, 'queue'),
  ('tgi_request_mean_time_per_token_duration', 'TGI', 3, 'tpot'),
  ('tgi_request_duration', 'TGI', 3, 'e2el'),
  ('tgi_request_queue_duration', 'TGI', 3, 'queue'),
  ('dynamo_frontend_time_to_first_token_seconds', 'Dynamo', 5, 'ttft'),
  ('dynamo_frontend_inter_token_latency_seconds', 'Dynamo', 5, 'itl'),
  ('dynamo_frontend_request_duration_seconds', 'Dynamo', 5, 'e2el')
) h(base, server, place, quantity)
CROSS JOIN (VALUES ('_sum', 'sum'), ('_count', 'count')) e(ending, kind)
UNION ALL
SELECT name, server, place, kind, quantity, combine, scale
FROM (VALUES
  ('llamacpp:tokens_predicted_seconds_total', 'llama.cpp', 4, 'sum', 'itl', NULL, 1.0),
  ('llamacpp:tokens_predicted_total', 'llama.cpp', 4, 'count', 'itl', NULL, 1.0),
  ('vllm:request_success_total', 'vLLM', 1, 'counter', 'requests', NULL, 1.0),
  ('vllm:prompt_tokens_total', 'vLLM', 1, 'counter', 'input_tokens', NULL, 1.0),
  ('vllm:generation_tokens_total', 'vLLM', 1, 'counter', 'output_tokens', NULL, 1.0),
  ('vllm:prefix_cache_queries_total', 'vLLM', 1, 'counter', 'prefix_queries', NULL, 1.0),
  ('vllm:prefix_cache_hits_total', 'vLLM', 1, 'counter', 'prefix_hits', NULL, 1.0),
  ('vllm:num_preemptions_total', 'vLLM', 1, 'counter', 'preemptions', NULL, 1.0),
  ('sglang:num_requests_total', 'SGLang', 2, 'counter', 'requests', NULL, 1.0),
  ('sglang:prompt_tokens_total', 'SGLang', 2, 'counter', 'input_tokens', NULL, 1.0),
  ('sglang:generation_tokens_total', 'SGLang', 2, 'counter', 'output_tokens', NULL, 1.0),
  ('sglang:cached_tokens_total', 'SGLang', 2, 'counter', 'prefix_hits', NULL, 1.0),
  ('sglang:num_retracted_requests_total', 'SGLang', 2, 'counter', 'preemptions', NULL, 1.0),
  ('tgi_request_count', 'TGI', 3, 'counter', 'requests', NULL, 1.0),
  ('tgi_request_input_length_sum', 'TGI', 3, 'counter', 'input_tokens', NULL, 1.0),
  ('tgi_request_generated_tokens_sum', 'TGI', 3, 'counter', 'output_tokens', NULL, 1.0),
  ('llamacpp:prompt_tokens_total', 'llama.cpp', 4, 'counter', 'input_tokens', NULL, 1.0),
  ('llamacpp:prompt_tokens_cached_total', 'llama.cpp', 4, 'counter', 'input_tokens', NULL, 1.0),
  ('llamacpp:prompt_tokens_cached_total', 'llama.cpp', 4, 'counter', 'prefix_hits', NULL, 1.0),
  ('llamacpp:tokens_predicted_total', 'llama.cpp', 4, 'counter', 'output_tokens', NULL, 1.0),
  ('dynamo_frontend_requests_total', 'Dynamo', 5, 'counter', 'requests', NULL, 1.0),
  ('dynamo_frontend_input_sequence_tokens_sum', 'Dynamo', 5, 'counter', 'input_tokens', NULL, 1.0),
  ('dynamo_frontend_output_tokens_total', 'Dynamo', 5, 'counter', 'output_tokens', NULL, 1.0),
  ('dynamo_frontend_cached_tokens_sum', 'Dynamo', 5, 'counter', 'prefix_hits', NULL, 1.0),
  ('vllm:num_requests_running', 'vLLM', 1, 'gauge', 'running', 'sum', 1.0),
  ('vllm:num_requests_waiting', 'vLLM', 1, 'gauge', 'waiting', 'sum', 1.0),
  ('vllm:kv_cache_usage_perc', 'vLLM', 1, 'gauge', 'kv_use', 'mean', 1.0),
  ('vllm:gpu_cache_usage_perc', 'vLLM', 1, 'gauge', 'kv_use', 'mean', 1.0),
  ('sglang:num_running_reqs', 'SGLang', 2, 'gauge', 'running', 'sum', 1.0),
  ('sglang:num_queue_reqs', 'SGLang', 2, 'gauge', 'waiting', 'sum', 1.0),
  ('sglang:token_usage', 'SGLang', 2, 'gauge', 'kv_use', 'mean', 1.0),
  ('tgi_batch_current_size', 'TGI', 3, 'gauge', 'running', 'sum', 1.0),
  ('tgi_queue_size', 'TGI', 3, 'gauge', 'waiting', 'sum', 1.0),
  ('llamacpp:requests_processing', 'llama.cpp', 4, 'gauge', 'running', 'sum', 1.0),
  ('llamacpp:requests_deferred', 'llama.cpp', 4, 'gauge', 'waiting', 'sum', 1.0),
  ('llamacpp:kv_cache_usage_ratio', 'llama.cpp', 4, 'gauge', 'kv_use', 'mean', 1.0),
  ('dynamo_frontend_inflight_requests', 'Dynamo', 5, 'gauge', 'running', 'sum', 1.0),
  ('dynamo_frontend_queued_requests', 'Dynamo', 5, 'gauge', 'waiting', 'sum', 1.0),
  ('dynamo_component_kvstats_gpu_cache_usage_percent', 'Dynamo', 5, 'gauge', 'kv_use', 'mean', 1.0),
  ('DCGM_FI_DEV_GPU_UTIL', 'DCGM', 1, 'gauge', 'gpu_use', 'mean', 0.01),
  ('DCGM_FI_DEV_POWER_USAGE', 'DCGM', 1, 'gauge', 'gpu_power', 'sum', 1.0)
) m(name, server, place, kind, quantity, combine, scale)
