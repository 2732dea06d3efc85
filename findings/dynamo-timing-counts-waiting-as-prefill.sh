#!/usr/bin/env bash
# Dynamo 1.6.1 tells in `nvext.timing` how long a request waited until prefill began, and how long prefill
# took. What it waited inside the engine is in the second, so that a full engine looks like a slow one.
#
# Four equal requests at once for an engine that takes one at a time (Dynamo's mocker with
# `--max-num-seqs 1`): the last of them waits for the three before it, about 0.7 s, for a prefill of
# 20 ms. By `prefill_wait_time_ms` none waited.
#
# Seen: ttft 19 ms = wait 1 ms + prefill 18 ms
#       ttft 258 ms = wait 1 ms + prefill 257 ms
#       ttft 497 ms = wait 1 ms + prefill 496 ms
#       ttft 736 ms = wait 1 ms + prefill 735 ms
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
# Without what it asks for beside these, which is not on PyPI and which it does not need here.
"$folder/venv/bin/pip" -q install aiohttp==3.14.5 kubernetes==32.0.1 msgspec==0.23.0 prometheus-client==0.26.0 \
  pydantic==2.13.5 pyzmq==27.3.0 redis==8.1.0 transformers==5.20.2 uvloop==0.23.0 zstandard==0.25.0
"$folder/venv/bin/pip" -q install --no-deps ai-dynamo==1.6.1 ai-dynamo-runtime==1.6.1
"$folder/venv/bin/python" - "$folder" <<'P'
import concurrent.futures
import contextlib
import json
import os
import pathlib
import socket
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


def timing(number):
    """Returns what the last events of an answer say of its time."""
    body = {
        "model": "m", "max_tokens": 40, "ignore_eos": True, "stream": True,
        "messages": [{"role": "user", "content": f"w{number} w10 w11"}], "nvext": {"extra_fields": ["timing"]},
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        lines = [line[6:] for line in answer.read().decode().splitlines() if line.startswith("data: {")]
    told = [(json.loads(line).get("nvext") or {}).get("timing") for line in lines]
    return next(it for it in told if it)


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
    ["dynamo.mocker", "--model-path", str(model), "--model-name", "m", "--max-num-seqs", "1"],
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
    timing(0)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        told = sorted(pool.map(timing, range(1, 5)), key=lambda it: it["ttft_ms"])
finally:
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(30)
for it in told:
    parts = [round(it[key]) for key in ("ttft_ms", "prefill_wait_time_ms", "prefill_time_ms")]
    print("ttft {} ms = wait {} ms + prefill {} ms".format(*parts))
first, last = told[0], told[-1]
# The last one is behind three answers, of which the first took that long.
waited = 2 * (first["total_time_ms"] - first["ttft_ms"])
assert last["ttft_ms"] > waited, "they no longer wait for each other"
assert last["prefill_wait_time_ms"] < 0.1 * waited, "the wait is told now"
assert last["prefill_time_ms"] > waited, "prefill is told without the wait now"
P
