#!/usr/bin/env bash
# smg 1.13.0 drops `max_completion_tokens` and `stream_include_usage` from a request for
# /v1/audio/transcriptions, and says nothing.
#
# vLLM, the engine behind it, takes both. Through the gateway an answer is as long as the model's context
# allows, whatever the limit (444 tokens for 24 with a Whisper), and a stream has no usage. `language` and
# `stream` are passed on.
#
# Seen: sent language max_completion_tokens model stream stream_continuous_usage_stats stream_include_usage,
# received language model stream; status 200
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install smg==1.13.0
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
upstream_port="$(free_port)" gateway_port="$(free_port)" metrics_port="$(free_port)"
python3 - "$upstream_port" "$gateway_port" "$metrics_port" "$folder" <<'P'
import http.server
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

upstream_port, gateway_port, metrics_port = map(int, sys.argv[1:4])
folder = sys.argv[4]
FIELDS = {
    "model": "m", "stream": "true", "language": "en", "max_completion_tokens": "24",
    "stream_include_usage": "true", "stream_continuous_usage_stats": "true",
}
received = []


class Engine(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

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
        # The gateway sends the form in chunks, or with its length.
        if length := self.headers["content-length"]:
            body = self.rfile.read(int(length))
        else:
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        received.append((self.path, body))
        self.answer("text/event-stream", b"data: [DONE]\n\n")


def transcribe():
    head = '--x\r\ncontent-disposition: form-data; name='
    parts = [f'{head}"{name}"\r\n\r\n{value}\r\n' for name, value in FIELDS.items()]
    file = f'{head}"file"; filename="a.wav"\r\ncontent-type: audio/wav\r\n\r\nRIFF\r\n'
    form = "".join([file, *parts, "--x--\r\n"]).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{gateway_port}/v1/audio/transcriptions", form,
        {"content-type": "multipart/form-data; boundary=x"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


engine = http.server.ThreadingHTTPServer(("127.0.0.1", upstream_port), Engine)
threading.Thread(target=engine.serve_forever, daemon=True).start()
command = [
    f"{folder}/venv/bin/smg", "launch", "--worker-urls", f"http://127.0.0.1:{upstream_port}",
    "--host", "127.0.0.1", "--port", str(gateway_port),
    "--prometheus-host", "127.0.0.1", "--prometheus-port", str(metrics_port),
]
gateway = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    status = None
    for _ in range(120):
        try:
            if (status := transcribe()) == 200:
                break
        except OSError:
            pass
        time.sleep(0.5)
    body = received[-1][1].decode()
    names = set(re.findall(r'name="(\w+)"', body)) - {"file"}
    print("sent    ", *sorted(FIELDS))
    print("received", *sorted(names), "status", status)
    assert status == 200
    assert {"model", "stream", "language"} <= names
    assert not names & {"max_completion_tokens", "stream_include_usage"}, "smg passes them on now"
finally:
    gateway.terminate()
    gateway.wait(20)
P
