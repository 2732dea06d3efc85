#!/usr/bin/env bash
# vllm-router 0.1.17 rewrites a chat request and leaves `stream_options.continuous_usage_stats` out.
#
# A client behind it that asks for usage in every event, which tells how many tokens each event holds,
# gets usage at the end alone, and no word on why. `include_usage`, in the same object, is passed on.
#
# Seen: sent {"include_usage": true, "continuous_usage_stats": true}, received {"include_usage": true}
set -euo pipefail
folder="$(mktemp -d)"
router=
trap '[[ -z $router ]] || kill "$router" 2>/dev/null; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install vllm-router==0.1.17 fastapi==0.165.0 uvicorn==0.54.0 \
  pydantic==2.14.4 aiohttp==3.14.5 requests==2.34.2 orjson==3.13.0
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
upstream_port="$(free_port)" router_port="$(free_port)" metrics_port="$(free_port)"
"$folder/venv/bin/vllm-router" --worker-urls "http://127.0.0.1:$upstream_port" --host 127.0.0.1 \
  --port "$router_port" --prometheus-host 127.0.0.1 --prometheus-port "$metrics_port" >"$folder/log" 2>&1 &
router=$!
python3 - "$upstream_port" "$router_port" <<'P'
import http.server
import json
import sys
import threading
import time
import urllib.request

upstream_port, router_port = map(int, sys.argv[1:])
received = []


class Engine(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, kind, body):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer("application/json", b'{"object":"list","data":[{"id":"m","object":"model"}]}')

    def do_POST(self):
        received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.answer("text/event-stream", b"data: [DONE]\n\n")


engine = http.server.ThreadingHTTPServer(("127.0.0.1", upstream_port), Engine)
threading.Thread(target=engine.serve_forever, daemon=True).start()
sent = {"include_usage": True, "continuous_usage_stats": True}
request = json.dumps(
    {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True, "stream_options": sent}
).encode()
for _ in range(120):
    try:
        call = urllib.request.Request(
            f"http://127.0.0.1:{router_port}/v1/chat/completions", request, {"content-type": "application/json"}
        )
        urllib.request.urlopen(call, timeout=5).read()
        break
    except OSError:
        time.sleep(0.5)
print("sent    ", json.dumps(sent))
print("received", json.dumps(received[-1]["stream_options"]))
assert received[-1]["stream_options"] == {"include_usage": True}, "it is passed on now"
P
