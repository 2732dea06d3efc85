#!/usr/bin/env bash
# vLLM 0.32.0 says two values of `input_tokens` in one stream of /v1/messages.
#
# In `message_start` it is the whole prompt, without a word on the cache. In `message_delta`, and without a
# stream, it is what the prefix cache neither had nor took in, as Anthropic defines it, and
# `cache_read_input_tokens` and `cache_creation_input_tokens` beside it have the rest. A client that takes
# the input from the start and the cache from the end, where each is first told, counts cached tokens twice.
# It is so with `--enable-prompt-tokens-details`; without it, the cache is not told at all.
#
# Seen, for the same prompt a second time:
# message_start: input_tokens 455; message_delta: input_tokens 71, cache_read_input_tokens 384
set -euo pipefail
vllm="$(cd "$(dirname "${BASH_SOURCE[0]}")/../tests/engines" && pwd)/vllm"
folder="$(mktemp -d)"
export TOKENTAPE_SERVERS="$folder"
port="$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
trap '"$vllm" stop "$port"; rm -rf "$folder"' EXIT
"$vllm" install
"$vllm" start "$port"
python3 - "$port" <<'P'
import json
import sys
import urllib.request


def ask(path, body):
    """Returns the events of a streamed answer, or the answer."""
    call = urllib.request.Request(
        f"http://127.0.0.1:{sys.argv[1]}{path}", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(call, timeout=60) as answer:
        if not body["stream"]:
            return json.load(answer)
        lines = [line.decode().strip() for line in answer]
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [json.loads(it) for it in data if it != "[DONE]"]


body = {
    "model": "tiny", "max_tokens": 4, "stream": True,
    "messages": [{"role": "user", "content": "the quick brown fox " * 40}],
}
ask("/v1/messages", body)
events = {event["type"]: event for event in ask("/v1/messages", body)}
start, end = events["message_start"]["message"]["usage"], events["message_delta"]["usage"]
whole = ask("/v1/messages", body | {"stream": False})["usage"]
for name, usage in (("message_start", start), ("message_delta", end), ("no stream", whole)):
    print(f"{name}: input_tokens {usage['input_tokens']}, cache_read {usage.get('cache_read_input_tokens')}")
read = end["cache_read_input_tokens"]
assert read and end["input_tokens"] == whole["input_tokens"]
assert start["input_tokens"] == end["input_tokens"] + read, "the start counts as the end does now"
P
