#!/usr/bin/env bash
# vLLM 0.32.0 ends the stream of a response that was cut at `max_output_tokens` with `response.completed`.
#
# OpenAI's Responses has `response.incomplete` for that, with `incomplete_details.reason`
# `max_output_tokens`; vLLM says so itself where the same request asks for no stream. Who reads only the
# name of the last event takes a cut answer for one that the model ended.
#
# Seen, for 8 of 8 output tokens:
# no stream: status incomplete, {"reason": "max_output_tokens"}
# stream:    response.completed
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


def ask(is_streamed):
    body = {"model": "tiny", "input": "hi", "max_output_tokens": 8, "ignore_eos": True, "stream": is_streamed}
    call = urllib.request.Request(
        f"http://127.0.0.1:{sys.argv[1]}/v1/responses", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(call, timeout=60) as answer:
        return answer.read().decode()


whole = json.loads(ask(False))
print("no stream:", whole["status"], json.dumps(whole["incomplete_details"]), whole["usage"]["output_tokens"], "tokens")
events = [line.removeprefix("event: ") for line in ask(True).splitlines() if line.startswith("event: ")]
print("stream:   ", events[-1])
assert whole["status"] == "incomplete" and whole["usage"]["output_tokens"] == 8, "it is no longer cut"
assert events[-1] == "response.completed", "a stream that was cut says so now"
P
