#!/usr/bin/env bash
# LiteLLM 1.110.2 answers /v1/messages without the reasoning that the engine behind it streams.
#
# For a model `openai/...` it asks the engine's /v1/responses, and makes thinking blocks of
# `response.reasoning_summary_text.delta`. An engine that shows its reasoning itself, as vLLM does, sends
# `response.reasoning_text.delta`, and of these nothing is left. The client sees no event while the model
# thinks, and an answer cut in its thinking is empty, with all its tokens in the usage. In a stream of
# /v1/responses LiteLLM passes the same events on.
#
# Seen: sent 8 deltas of reasoning, received 8 by /v1/responses, 0 by /v1/messages with output_tokens 8
set -euo pipefail
folder="$(mktemp -d)"
gateway=
trap '[[ -z $gateway ]] || { kill "$gateway"; wait "$gateway" || true; } 2>/dev/null; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install litellm==1.110.2 apscheduler==3.11.3 backoff==2.2.1 cryptography==50.0.2 \
  expression==5.8.0 fastapi==0.165.0 fastapi-sso==0.23.0 httpx2==2.16.2 mcp==2.3.0 openai==3.57.0 orjson==3.13.0 \
  pydantic==2.14.4 pyjwt==2.15.1 python-multipart==0.0.34 pyyaml==6.0.4 redis==8.1.0 rich==13.9.4 semver==3.1.2 \
  soundfile==0.14.0 starlette==1.10.0 tiktoken==0.14.0 tokenizers==0.23.3 uvicorn==0.54.0 uvloop==0.23.0 \
  websockets==15.0.1
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
engine_port="$(free_port)" gateway_port="$(free_port)"
cat >"$folder/config.yaml" <<Y
model_list:
  - model_name: m
    litellm_params: {model: openai/m, api_base: "http://127.0.0.1:$engine_port/v1", api_key: none}
Y
DO_NOT_TRACK=1 LITELLM_LOCAL_MODEL_COST_MAP=True LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY=true \
  "$folder/venv/bin/litellm" --config "$folder/config.yaml" --host 127.0.0.1 --port "$gateway_port" \
  >"$folder/log" 2>&1 &
gateway=$!
python3 - "$engine_port" "$gateway_port" <<'P'
import http.server
import json
import sys
import threading
import time
import urllib.request

engine_port, gateway_port = map(int, sys.argv[1:])
WORDS = [f"word{i} " for i in range(8)]


def events():
    """Yields what vLLM 0.32.0 sends where the limit is reached in the reasoning."""
    item = {"id": "rs_1", "type": "reasoning", "summary": [], "content": None, "status": "in_progress"}
    response = {
        "id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "in_progress", "output": [],
        "parallel_tool_calls": True, "tool_choice": "none", "tools": [], "temperature": 1.0, "top_p": 1.0,
        "incomplete_details": None, "usage": None,
    }
    place = {"output_index": 0, "item_id": "rs_1", "content_index": 0}
    part = {"type": "reasoning_text", "text": ""}
    text = "".join(WORDS)
    done = item | {"content": [part | {"text": text}], "status": "completed"}
    yield {"type": "response.created", "response": response}
    yield {"type": "response.in_progress", "response": response}
    yield {"type": "response.output_item.added", "output_index": 0, "item": item}
    yield {"type": "response.content_part.added", "part": part} | place
    for word in WORDS:
        yield {"type": "response.reasoning_text.delta", "delta": word} | place
    yield {"type": "response.reasoning_text.done", "text": text} | place
    yield {"type": "response.content_part.done", "part": part | {"text": text}} | place
    yield {"type": "response.output_item.done", "output_index": 0, "item": done}
    usage = {
        "input_tokens": 5, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 8,
        "output_tokens_details": {"reasoning_tokens": 8}, "total_tokens": 13,
    }
    end = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    yield {"type": "response.completed", "response": response | end | {"output": [done], "usage": usage}}


class Engine(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        assert self.path == "/v1/responses", self.path
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for number, event in enumerate(events()):
            data = json.dumps(event | {"sequence_number": number})
            self.wfile.write(f"event: {event['type']}\ndata: {data}\n\n".encode())


def ask(path, body):
    """Returns the events of a streamed answer of the gateway."""
    request = json.dumps({"model": "m", "stream": True} | body).encode()
    call = urllib.request.Request(
        f"http://127.0.0.1:{gateway_port}{path}", request, {"content-type": "application/json"}
    )
    with urllib.request.urlopen(call, timeout=30) as answer:
        lines = [line.decode() for line in answer]
    data = [line.removeprefix("data: ").strip() for line in lines if line.startswith("data: ")]
    return [json.loads(it) for it in data if it != "[DONE]"]


engine = http.server.ThreadingHTTPServer(("127.0.0.1", engine_port), Engine)
threading.Thread(target=engine.serve_forever, daemon=True).start()
for _ in range(240):
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{gateway_port}/v1/models", timeout=5).read()
        break
    except OSError:
        time.sleep(0.5)
responses = ask("/v1/responses", {"input": "hi", "max_output_tokens": 8})
passed = [event for event in responses if event["type"] == "response.reasoning_text.delta"]
messages = ask("/v1/messages", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 8})
deltas = [event for event in messages if event["type"] == "content_block_delta"]
usage = next(event["usage"] for event in messages if event["type"] == "message_delta")
print(
    f"sent {len(WORDS)} deltas of reasoning, received {len(passed)} by /v1/responses, "
    f"{len(deltas)} by /v1/messages with output_tokens {usage['output_tokens']}"
)
assert len(passed) == len(WORDS) == usage["output_tokens"]
assert not deltas, "/v1/messages has the reasoning now"
P
