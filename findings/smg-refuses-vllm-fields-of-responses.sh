#!/usr/bin/env bash
# smg 1.13.0 refuses `ignore_eos` in a request for `/v1/responses`, and passes it on in one for chat.
#
# vLLM, the engine behind it, takes the field in both: who asks for answers of an exact length gets
# them through the gateway by one protocol, and an error of the gateway's own by the other.
#
# Seen: chat 200, the engine received "ignore_eos": true; responses 400, "unknown field `ignore_eos`",
# and the engine received nothing
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install smg==1.13.0
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
upstream_port="$(free_port)" gateway_port="$(free_port)" metrics_port="$(free_port)"
python3 - "$upstream_port" "$gateway_port" "$metrics_port" "$folder" <<'P'
import http.server
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

upstream_port, gateway_port, metrics_port = map(int, sys.argv[1:4])
folder = sys.argv[4]
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
        self.answer("application/json", b'{"object":"list","data":[{"id":"m","object":"model","owned_by":"vllm"}]}')

    def do_POST(self):
        received.append((self.path, json.loads(self.rfile.read(int(self.headers["content-length"])))))
        self.answer("text/event-stream", b"data: [DONE]\n\n")


def ask(path, body):
    request = urllib.request.Request(
        f"http://127.0.0.1:{gateway_port}{path}", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


engine = http.server.ThreadingHTTPServer(("127.0.0.1", upstream_port), Engine)
threading.Thread(target=engine.serve_forever, daemon=True).start()
command = [
    f"{folder}/venv/bin/smg", "launch", "--worker-urls", f"http://127.0.0.1:{upstream_port}",
    "--host", "127.0.0.1", "--port", str(gateway_port),
    "--prometheus-host", "127.0.0.1", "--prometheus-port", str(metrics_port),
]
gateway = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    common = {"model": "m", "stream": True, "ignore_eos": True}
    chat = common | {"messages": [{"role": "user", "content": "hi"}]}
    for _ in range(120):
        try:
            status, _ = ask("/v1/chat/completions", chat)
            if status == 200:
                break
        except OSError:
            pass
        time.sleep(0.5)
    passed = received[-1][1].get("ignore_eos")
    print("chat     ", status, "received ignore_eos:", passed)
    before = len(received)
    refused, said = ask("/v1/responses", common | {"input": "hi"})
    print("responses", refused, said[:120])
    print("received ", len(received) - before)
    assert (status, passed) == (200, True), "chat no longer passes it on"
    assert refused == 400 and "unknown field `ignore_eos`" in said, "responses take it now"
    assert len(received) == before
finally:
    gateway.terminate()
    gateway.wait(20)
P
