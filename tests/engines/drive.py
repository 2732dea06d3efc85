#!/usr/bin/env python3
"""Drives a real engine with each of its backends, and holds the tape to the engine's own account.

    drive.py --tokentape PROGRAM --base-url URL --model NAME --backends vllm,vllm-chat,anthropic
             [--requests 20] [--tokens 24] [--prefix 0] [--account vllm|llama.cpp|dynamo|asked|none]
             [--extra JSON] [--metrics-url URL] [--load-flags=FLAGS] [--tapes FOLDER]

For each backend it sends requests of which the prompts differ behind a prefix that they share, and
prints a line: how many were ok; requests, output, prompt and cached tokens on the tape, each beside
what it is held to, the growth of the engine's counters; the tokens that the tape could place; how many
events had reasoning; TTFT; and the mean inter-token time beside the engine's own, which takes no verdict.
Exits with 1 where `load` did, a request failed, or the tape and the engine differ. A count that the engine
does not keep is `-`. A tape that is there already is no answer of this engine, and is refused.

FLAGS for `load` go with an equals sign: `--load-flags=--insecure`.

Behind a gateway, `--metrics-url` names the engine, and `--base-url` the gateway.

`asked` is for an engine without counters: the requests and their output tokens are held against what
was asked for. `none` compares nothing.

The engine must serve nobody else meanwhile. `vllm`, `vllm-audio`, `dynamo` and `mistralrs`, here, and
`llamacpp-cpu`, with the maintainers, start engines for it. Not part of `.ci/run`: it needs an engine that runs.
Python's standard library alone.
"""

import argparse
import json
import pathlib
import re
import shlex
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request

# What each engine counts, by the names of its counters, which are added up over their labels.
# Prompt tokens are those that it read, from a cache or not.
ACCOUNTS = {
    "vllm": {
        "requests": ["vllm:request_success_total"],
        "output": ["vllm:generation_tokens_total"],
        "input": ["vllm:prompt_tokens_total"],
        "cached": ["vllm:prefix_cache_hits_total"],
    },
    "llama.cpp": {
        "output": ["llamacpp:tokens_predicted_total"],
        # The first counts only the tokens that it had to compute.
        "input": ["llamacpp:prompt_tokens_total", "llamacpp:prompt_tokens_cached_total"],
        "cached": ["llamacpp:prompt_tokens_cached_total"],
    },
    "dynamo": {
        "requests": ["dynamo_frontend_requests_total"],
        "output": ["dynamo_frontend_output_tokens_total"],
        "input": ["dynamo_frontend_input_sequence_tokens_sum"],
        "cached": ["dynamo_frontend_cached_tokens_sum"],
    },
}
# The histogram of each engine's own inter-token times, in seconds.
GAPS = {"vllm": "vllm:inter_token_latency_seconds"}
# Backends that ask for exactly the planned length by themselves in a replay only; here the flag does.
LIMIT_ALONE = {"anthropic", "ollama", "tgi-chat", "transformers", "deepspeed-mii", "openai-embeddings"}

# What is compared, as the tape has it: every count of an account has a column of its name here.
FACTS = """
SELECT count(*) AS requests, count(*) FILTER (WHERE status = 'ok') AS ok, sum(output_tokens) AS output,
       sum(usage_input_tokens) AS input, sum(usage_cached_tokens) AS cached,
       string_agg(DISTINCT output_tokens_source, ' ') AS source, sum(chunk_count) AS chunks,
       (SELECT sum(tokens) FROM chunks WHERE is_token_bearing) AS placed,
       (SELECT nullif(count(*), 0) FROM chunks WHERE channel = 'reasoning') AS reasoning,
       median(ttft_ns) / 1e6 AS ttft_ms, (SELECT avg(itl_ns) / 1e6 FROM tokens) AS itl_ms,
       min(error_message) AS message FROM requests
"""
COUNTS = ["requests", "output", "input", "cached"]


# An engine that is driven over TLS may have signed for itself.
ANY_CERTIFICATE = ssl._create_unverified_context()


def counters(base_url, account):
    """Returns what the counters of each count add up to."""
    with urllib.request.urlopen(f"{base_url}/metrics", timeout=10, context=ANY_CERTIFICATE) as answer:
        text = answer.read().decode()

    def total(name):
        rows = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)", text, re.MULTILINE)
        return sum(map(float, rows))

    return {count: sum(map(total, names)) for count, names in account.items()}


def settled(base_url, account):
    """Returns the counters once they stand still: engines count a little after they answer."""
    before = None
    for _ in range(40):
        now = counters(base_url, account)
        if now == before:
            return now
        before = now
        time.sleep(0.25)
    return before


def drive(options, backend, folder):
    """Returns how the program ended, what its tape says, what the engine's counters grew by, and the mean
    of the engine's own inter-token times."""
    tape = folder / f"{backend}.tape"
    if tape.exists():
        sys.exit(f"{tape} is there already: give --tapes an empty folder")
    command = [
        options.tokentape, "load", "--backend", backend, "--base-url", options.base_url,
        "--model", options.model, "--num-prompts", str(options.requests), "--max-concurrency", "4",
        "--random-input-len", "40", "--random-output-len", str(options.tokens),
        "--random-prefix-len", str(options.prefix),
        "--keep", "text", "--no-summary", "--disable-tqdm", "--out", str(tape),
    ]
    if backend not in LIMIT_ALONE:
        command.append("--ignore-eos")
    if options.extra:
        command += ["--extra-body", options.extra]
    command += shlex.split(options.load_flags)
    account = dict(ACCOUNTS.get(options.account, {}))
    if gaps := GAPS.get(options.account):
        account |= {"gaps": [f"{gaps}_count"], "gap_seconds": [f"{gaps}_sum"]}
    metrics_url = options.metrics_url or options.base_url
    before = settled(metrics_url, account) if account else {}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    after = settled(metrics_url, account) if account else {}
    grown = {count: after[count] - before[count] for count in account}
    gaps, gap_seconds = grown.pop("gaps", 0), grown.pop("gap_seconds", 0)
    grown = {count: int(growth) for count, growth in grown.items()}
    said = subprocess.run(
        [options.tokentape, "sql", str(tape), "--format", "json", "-c", FACTS],
        capture_output=True, text=True,
    )
    facts = json.loads(said.stdout)[0] if said.returncode == 0 else None
    if options.account == "asked":
        grown = {"requests": options.requests, "output": options.requests * options.tokens}
    return done, facts, grown, gap_seconds / gaps * 1e3 if gaps else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokentape", required=True)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--backends", required=True)
    parser.add_argument("--requests", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--prefix", type=int, default=0, help="tokens that all prompts begin with")
    parser.add_argument("--account", choices=[*ACCOUNTS, "asked", "none"], default="none")
    parser.add_argument("--extra", help="fields for every body, as JSON")
    parser.add_argument("--metrics-url", help="where the account is kept, where that is not --base-url")
    parser.add_argument("--load-flags", default="", help="more flags for `load`, as in --load-flags=--insecure")
    parser.add_argument("--tapes", type=pathlib.Path, help="an empty folder, for the tapes to stay in")
    options = parser.parse_args()
    is_whole = True
    pairs = [title for count in COUNTS for title in (count, "held to")]
    titles = ["backend", "ok", *pairs, "counted by", "chunks", "placed", "reasoning"]
    titles += ["TTFT ms", "ITL ms", "its own", ""]
    print("|", " | ".join(titles), "|")
    print("|" + "---|" * len(titles))
    with tempfile.TemporaryDirectory() as folder:
        for backend in options.backends.split(","):
            done, facts, grown, engine_itl_ms = drive(options, backend, options.tapes or pathlib.Path(folder))
            if facts is None:
                said = done.stderr.strip().splitlines() or ["`load` said nothing"]
                print(f"| {backend} | exit code {done.returncode}, no tape: {said[-1]} |")
                is_whole = False
                continue
            # What nothing was told of is none, for the tape and for the engine.
            differing = [count for count in grown if (facts[count] or 0) != grown[count]]
            is_ok = done.returncode == 0 and facts["ok"] == options.requests and not differing
            is_whole &= is_ok
            ended = f"exit code {done.returncode} " if done.returncode else ""
            verdict = "equal" if is_ok else f"DIFFERS {ended}{' '.join(differing)} {facts['message'] or ''}"
            cells = [backend, facts["ok"]]
            cells += [cell for count in COUNTS for cell in (facts[count], grown.get(count))]
            cells += [facts["source"], facts["chunks"], facts["placed"], facts["reasoning"]]
            times = [facts["ttft_ms"], facts["itl_ms"], engine_itl_ms]
            cells += [None if ms is None else round(ms, 1) for ms in times] + [verdict.strip()]
            print("|", " | ".join("-" if cell is None else str(cell) for cell in cells), "|", flush=True)
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
