#!/usr/bin/env bash
# Dynamo 1.6.1's frontend leaves Nagle's algorithm on for its clients, so that on a connection that is used
# again the first tokens of a stream wait for the client's delayed acknowledgement: 40 ms on Linux.
#
# The head of an answer leaves at once. What follows is small, and is held back until the head is
# acknowledged; a client that has nothing to send does that after 40 ms. A new connection is spared,
# since Linux acknowledges at once on it. So a load test that keeps its connections sees another time to
# first token than one that opens a connection a request, and the first tokens in one read.
#
# Seen, medians of 20 requests on one connection to Dynamo's mocker, whose first token takes about 20 ms
# and the others 6: first token after 45 ms, 5 tokens in that read; with TCP_QUICKACK in the client
# first token after 21 ms, 1 token
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
# Without what it asks for beside these, which is not on PyPI and which it does not need here.
"$folder/venv/bin/pip" -q install aiohttp==3.14.5 kubernetes==32.0.1 msgspec==0.23.0 prometheus-client==0.26.0 \
  pydantic==2.13.5 pyzmq==27.3.0 redis==8.1.0 transformers==5.20.2 uvloop==0.23.0 zstandard==0.25.0
"$folder/venv/bin/pip" -q install --no-deps ai-dynamo==1.6.1 ai-dynamo-runtime==1.6.1
"$folder/venv/bin/python" - "$folder" <<'P'
import contextlib
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

import tokenizers
import zmq

folder = pathlib.Path(sys.argv[1])
model = folder / "model"
model.mkdir()
words = tokenizers.models.WordLevel({f"w{i}": i for i in range(4096)}, unk_token="w0")
tokenizer = tokenizers.Tokenizer(words)
tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
tokenizer.save(str(model / "tokenizer.json"))
(model / "config.json").write_text(json.dumps({
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": 4096, "hidden_size": 64,
    "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 4096, "eos_token_id": 0,
}))
(model / "tokenizer_config.json").write_text(json.dumps({
    "tokenizer_class": "PreTrainedTokenizerFast",
    "chat_template": "{% for m in messages %}{{ m['content'] }} {% endfor %}",
}))


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for it in sockets:
            it.bind(("127.0.0.1", 0))
        return [it.getsockname()[1] for it in sockets]


port, into, out = free_ports(3)


def first_tokens(is_quick, count):
    """Returns, for requests on one connection, the time to the first token and how many came with it."""
    found = []
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(count):
            body = json.dumps({
                "model": "m", "max_tokens": 12, "ignore_eos": True, "stream": True,
                "messages": [{"role": "user", "content": f"w{number} w10 w11"}],
            }).encode()
            head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            sent = time.perf_counter()
            client.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            whole, first = b"", None
            while not whole.endswith(b"0\r\n\r\n"):
                if is_quick:  # It has to be said anew before each read.
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                part = client.recv(65536)
                assert part, "the connection was closed"
                whole += part
                tokens = part.count(b'"content":')
                if tokens and not first:
                    first = ((time.perf_counter() - sent) * 1000, tokens)
            found.append(first)
    return found


context = zmq.Context()  # The mocker's events: by a broker, since it would publish on all addresses.
broker = [context.socket(zmq.XSUB), context.socket(zmq.XPUB)]
for it, number in zip(broker, (into, out)):
    it.bind(f"tcp://127.0.0.1:{number}")
threading.Thread(target=zmq.proxy, args=broker, daemon=True).start()
env = os.environ | {
    "DYN_DISCOVERY_BACKEND": "file", "DYN_FILE_KV": str(folder), "DYN_REQUEST_PLANE": "tcp",
    "DYN_EVENT_PLANE": "zmq", "DYN_ZMQ_BROKER_URL": f"xsub=tcp://127.0.0.1:{into} , xpub=tcp://127.0.0.1:{out}",
    "DYN_TCP_RPC_HOST": "127.0.0.1", "DYN_TCP_RESPONSE_STREAM_HOST": "127.0.0.1", "HF_HUB_OFFLINE": "1",
}
parts = [
    ["dynamo.mocker", "--model-path", str(model), "--model-name", "m"],
    ["dynamo.frontend", "--http-host", "127.0.0.1", "--http-port", str(port)],
]
with open(folder / "log", "w") as log:
    processes = [
        subprocess.Popen([sys.executable, "-m", *part], env=env, stdout=log, stderr=log) for part in parts
    ]
try:
    for _ in range(240):
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5) as answer:
                if json.load(answer)["data"]:
                    break
        time.sleep(0.5)
    first_tokens(False, 1)
    plain, quick = first_tokens(False, 21)[1:], first_tokens(True, 21)[1:]
finally:
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(30)
medians = [[statistics.median(column) for column in zip(*found)] for found in (plain, quick)]
for name, (ms, tokens) in zip(("plain", "TCP_QUICKACK"), medians):
    print(f"{name}: first token after {ms:.0f} ms, tokens in that read {tokens:.0f}")
(ms, tokens), (quick_ms, quick_tokens) = medians
assert ms - quick_ms > 15 and tokens > quick_tokens, "the first tokens are not held back any more"
P
