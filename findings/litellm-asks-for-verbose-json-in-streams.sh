#!/usr/bin/env bash
# LiteLLM 1.110.2 puts `response_format=verbose_json` into a streamed request for /v1/audio/transcriptions
# that names no format. The protocol's default is json.
#
# vLLM, an engine that may stand behind it, answers that format in a stream with 400: a transcription can
# be streamed through the gateway only where the client asks for `response_format=json` itself.
#
# Seen: sent no response_format, received verbose_json; sent json, received json
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
import re
import struct
import sys
import threading
import time
import urllib.request

engine_port, gateway_port = map(int, sys.argv[1:])
received = []
EVENTS = (
    b'data: {"id":"t","object":"transcription.chunk","created":1,"model":"m",'
    b'"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
# A tenth of a second of silence.
FORMAT = struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
SOUND = b"RIFF" + struct.pack("<I", 3236) + b"WAVEfmt " + FORMAT + b"data" + struct.pack("<I", 3200) + bytes(3200)


class Engine(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        received.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write(EVENTS)


def asked_format(**more):
    """Returns the format that the engine was asked for."""
    head = '--x\r\ncontent-disposition: form-data; name='
    parts = [f'{head}"file"; filename="a.wav"\r\ncontent-type: audio/wav\r\n\r\n'.encode() + SOUND + b"\r\n"]
    fields = {"model": "m", "stream": "true"} | more
    parts += [f'{head}"{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields.items()]
    call = urllib.request.Request(
        f"http://127.0.0.1:{gateway_port}/v1/audio/transcriptions", b"".join([*parts, b"--x--\r\n"]),
        {"content-type": "multipart/form-data; boundary=x"},
    )
    with urllib.request.urlopen(call, timeout=30) as answer:
        answer.read()
    found = re.search(rb'name="response_format"\r\n(?:[^\r]+\r\n)*\r\n(\w+)', received[-1])
    return found and found[1].decode()


engine = http.server.ThreadingHTTPServer(("127.0.0.1", engine_port), Engine)
threading.Thread(target=engine.serve_forever, daemon=True).start()
for _ in range(240):
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{gateway_port}/v1/models", timeout=5).read()
        break
    except OSError:
        time.sleep(0.5)
without, plain = asked_format(), asked_format(response_format="json")
print(f"sent no response_format, received {without}; sent json, received {plain}")
assert plain == "json"
assert without == "verbose_json", "it asks for no other format now"
P
