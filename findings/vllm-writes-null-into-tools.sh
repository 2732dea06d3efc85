#!/usr/bin/env bash
# vLLM 0.32.0 gives a chat template tools that say more than the request: a function without a description has
# `"description": null` there, one without parameters `"parameters": null`, and fields that vLLM does not
# know are gone.
#
# So the same request has another prompt than transformers' `apply_chat_template` makes of it with the same
# template, and another number of prompt tokens. With `"tool_choice": "none"` the tools are in the prompt too.
#
# Seen, for a template that writes the tools as JSON:
# transformers: [{"type": "function", "function": {"name": "look", "note": "x"}}]
# vLLM:         [{"type": "function", "function": {"name": "look", "description": null, "parameters": null}}]
set -euo pipefail
vllm="$(cd "$(dirname "${BASH_SOURCE[0]}")/../tests/engines" && pwd)/vllm"
folder="$(mktemp -d)"
export TOKENTAPE_SERVERS="$folder"
port="$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
trap '"$vllm" stop "$port"; rm -rf "$folder"' EXIT
"$vllm" install
echo '{% if tools %}{{ tools | tojson }}{% endif %}{{ messages[0].content }}' >"$folder/tools.jinja"
"$vllm" start "$port" --chat-template "$folder/tools.jinja" --enable-auto-tool-choice --tool-call-parser hermes
"$folder/vllm/bin/python" - "$port" "$folder/tools.jinja" <<'P'
import json
import sys
import urllib.request

from transformers.utils.chat_template_utils import render_jinja_template


def ask(path, body):
    call = urllib.request.Request(
        f"http://127.0.0.1:{sys.argv[1]}{path}", json.dumps(body | {"model": "tiny"}).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(call, timeout=60) as answer:
        return json.load(answer)


messages = [{"role": "user", "content": "hi"}]
tools = [{"type": "function", "function": {"name": "look", "note": "x"}}]
with open(sys.argv[2]) as template:
    expected = render_jinja_template([messages], tools=tools, chat_template=template.read())[0][0]
counted = ask("/tokenize", {"messages": messages, "tools": tools})
made = ask("/detokenize", {"tokens": counted["tokens"]})["prompt"]
print("transformers:", expected)
print("vLLM:        ", made)
assert expected.strip() == json.dumps(tools) + "hi", "transformers writes something else"
assert '"description": null, "parameters": null' in made and "note" not in made, "vLLM writes what was sent"
for choice in ("auto", "none"):
    body = {"messages": messages, "tools": tools, "max_tokens": 1, "tool_choice": choice}
    tokens = ask("/v1/chat/completions", body)["usage"]["prompt_tokens"]
    print(f"tool_choice {choice}: {tokens} prompt tokens, {counted['count']} by /tokenize")
    assert tokens == counted["count"], "a choice of no tool leaves them out now"
P
