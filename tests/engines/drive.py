#!/usr/bin/env python3
"""Drives a real engine with each of its backends, and holds the tape to the engine's own account.

    drive.py --tokentape PROGRAM --base-url URL --model NAME --backends vllm,vllm-chat,anthropic
             [--requests 20] [--tokens 24] [--account vllm|llama.cpp|none] [--extra JSON]

For each backend it sends requests of which the prompts differ, and prints a line: how many were ok,
the output tokens on the tape, what the engine's counters grew by, the tokens that the tape could
place, and TTFT and ITL. Exits with 1 where a request failed, or the tape and the engine differ.

Not part of `.ci/run`: it needs an engine that runs. Python's standard library alone.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

# The counters of each engine: output tokens, prompt tokens.
ACCOUNTS = {
    "vllm": ("vllm:generation_tokens_total", "vllm:prompt_tokens_total"),
    "llama.cpp": ("llamacpp:tokens_predicted_total", "llamacpp:prompt_tokens_total"),
}
# Backends that ask for exactly the planned length by themselves in a replay only; here the flag does.
LIMIT_ALONE = {"anthropic", "ollama", "tgi-chat", "transformers", "deepspeed-mii", "openai-embeddings"}

FACTS = """
SELECT count(*) AS n, count(*) FILTER (WHERE status = 'ok') AS ok, sum(output_tokens) AS output,
       sum(usage_input_tokens) AS input, sum(usage_cached_tokens) AS cached,
       min(output_tokens_source) AS source, sum(streamed_tokens) AS placed, sum(chunk_count) AS chunks,
       median(ttft_ns) / 1e6 AS ttft_ms, min(error_message) AS message FROM requests
"""


def counters(base_url, names):
    """Returns the sums of these counters over their labels."""
    with urllib.request.urlopen(f"{base_url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    sums = []
    for name in names:
        rows = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)", text, re.MULTILINE)
        sums.append(sum(map(float, rows)))
    return sums


def settled(base_url, names):
    """Returns the counters once they stand still: engines count a little after they answer."""
    before = None
    for _ in range(40):
        now = counters(base_url, names)
        if now == before:
            return now
        before = now
        time.sleep(0.25)
    return before


def drive(options, backend, folder):
    tape = folder / f"{backend}.tape"
    command = [
        options.tokentape, "load", "--backend", backend, "--base-url", options.base_url,
        "--model", options.model, "--num-prompts", str(options.requests), "--max-concurrency", "4",
        "--random-input-len", "40", "--random-output-len", str(options.tokens),
        "--keep", "text", "--no-summary", "--disable-tqdm", "--out", str(tape),
    ]
    if backend not in LIMIT_ALONE:
        command.append("--ignore-eos")
    if options.extra:
        command += ["--extra-body", options.extra]
    names = ACCOUNTS.get(options.account)
    before = settled(options.base_url, names) if names else None
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    after = settled(options.base_url, names) if names else None
    grown = [int(b - a) for a, b in zip(before, after)] if names else None
    said = subprocess.run(
        [options.tokentape, "sql", str(tape), "--format", "json", "-c", FACTS],
        capture_output=True, text=True,
    )
    facts = json.loads(said.stdout)[0] if said.returncode == 0 else None
    return done, facts, grown


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokentape", required=True)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--backends", required=True)
    parser.add_argument("--requests", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--account", choices=[*ACCOUNTS, "none"], default="none")
    parser.add_argument("--extra", help="fields for every body, as JSON")
    options = parser.parse_args()
    is_whole = True
    print("| backend | ok | output tokens | engine's | input tokens | engine's | cached | counted by | chunks | placed | TTFT ms | |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for backend in options.backends.split(","):
            done, facts, grown = drive(options, backend, pathlib.Path(folder))
            if facts is None:
                print(f"| {backend} | no tape: {done.stderr.strip().splitlines()[-1]} |")
                is_whole = False
                continue
            output, counted = facts["output"] or 0, grown or [None, None]
            # llama.cpp counts only the prompt tokens that it had to compute.
            computed = (facts["input"] or 0) - (
                (facts["cached"] or 0) if options.account == "llama.cpp" else 0
            )
            is_equal = grown is None or (output == counted[0] and computed == counted[1])
            is_ok = facts["ok"] == options.requests and is_equal
            is_whole &= is_ok
            cells = [
                backend, f"{facts['ok']} of {facts['n']}", output, counted[0], facts["input"],
                counted[1], facts["cached"], facts["source"], facts["chunks"], facts["placed"],
                None if facts["ttft_ms"] is None else round(facts["ttft_ms"], 1),
                "equal" if is_ok else f"DIFFERS {facts['message'] or ''}",
            ]
            print("|", " | ".join("-" if cell is None else str(cell) for cell in cells), "|", flush=True)
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
