#!/usr/bin/env python3
"""Do our definitions of other tools say what those tools say?

`queries/definitions/` computes the numbers of other load clients from a tape. Two ways to hold them
to the clients themselves:

- `replay`: each client's own code, its reader of streams and its statistics, is fed with the events
  and the times of a tape (`definitions_tools.py`), and must come to the numbers of our definition.
  Both see the same nanoseconds, so what differs beyond rounding is a mistake.
- `live`: each client that installs from a package runs against `tokentape simulate`, whose answers
  have a fixed time to the first token and a fixed rate, and tokentape sends the same requests; the
  client's own report is held against our definition of it on our tape. These are two runs: what
  differs is how truthful the clients are, and the noise of the machine.

    definitions.py replay --tape TAPE... --tokentape PROGRAM [--tokenizer FILE]
                   --python vllm=PYTHON --python aiperf=PYTHON ... [--out FILE]
    definitions.py live --tokentape PROGRAM --tokenizer FOLDER
                   --vllm PROGRAM --aiperf PROGRAM --guidellm PROGRAM [--out FILE]

A replay needs tapes that were made with `--keep text`, of answers by /v1/chat/completions. What is
not on a tape is put in its place: the shape of the JSON around a text, one usage event. SGLang's
client is read from an unpacked wheel, whose folder is SGLANG_WHEEL; its PYTHON has aiohttp, msgspec,
numpy, orjson, requests, tqdm and transformers.

Tables in Markdown go to stdout; `--out` takes every number. Needs Linux and Python's standard
library alone. Exits with 1 where a replay differs, or a client failed.
"""

import argparse
import csv
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from peers_clients import ENVIRONMENT, Aiperf, Failure, Guidellm, Load, Run, VllmServe, said_by  # noqa: E402

TOOLS = ("vllm", "sglang", "aiperf", "guidellm", "inference-perf", "genai-bench", "evalscope")
LATENCIES = ("ttft", "itl", "icl", "tpot", "ntpot", "e2el")

# How far a number may be off in a replay: rounding of floating point; and, in nanoseconds, what the
# client itself rounds its own to, or what its clock is made to go on by.
RELATIVE = 1e-9
ABSOLUTE_NS = {"evalscope": 51, "genai-bench": 4}
# EvalScope keeps the percentiles of the whole latency in seconds with four decimals.
ABSOLUTE_E2EL_NS = {"evalscope": 50_001}
ABSOLUTE = 2e-6
# GuideLLM takes events within this time for one, and so ends its rates that much earlier at most.
MERGED_S = {"guidellm": 1e-4}


def definitions(program, tapes, tokenizer=None):
    """Returns what our definitions say: {run: {tool: {(metric, stat): (value, note)}}}."""
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "analyze", *map(str, tapes), "--definitions", "all", "--csv", folder]
        said_by([*command, "--force", *(["--tokenizer", tokenizer] if tokenizer else [])])
        found = {}
        for tool in TOOLS:
            path = pathlib.Path(folder) / f"definition_{tool}.csv"
            for row in csv.DictReader(path.open()):
                value = float(row["value"]) if row["value"] else None
                numbers = found.setdefault(row["run"], {}).setdefault(tool, {})
                numbers[row["metric"], row["stat"]] = (value, row["note"] or None)
    return found


# Replays


def query(program, tape, sql):
    return json.loads(said_by([program, "sql", str(tape), "--format", "json", "-c", sql]))


def requests_of(program, tape):
    """Returns the requests of a tape with the events to replay."""
    rows = query(
        program, tape,
        "SELECT request_id, intended_ns, dispatched_ns, sent_ns, end_ns, http_status, error_kind, "
        "error_message, finish_reason, coalesce(input_tokens_counted, input_tokens_planned) "
        "AS input_tokens_planned, output_tokens_planned, usage_input_tokens, usage_output_tokens, "
        "usage_reasoning_tokens FROM requests WHERE dispatched_ns IS NOT NULL ORDER BY request_id",
    )
    chunks = query(
        program, tape,
        "SELECT c.request_id, c.seq, c.arrival_ns, c.channel, c.has_choices, c.text FROM chunks c "
        "LEFT SEMI JOIN requests r ON r.request_id = c.request_id AND r.attempt = c.attempt "
        "ORDER BY c.request_id, c.seq",
    )
    requests = {row["request_id"]: row | {"events": []} for row in rows}
    for request in requests.values():
        request["is_broken"] = request["error_kind"] == "truncated"
    for chunk in chunks:
        request = requests[chunk["request_id"]]
        data = event(request, chunk)
        request["events"].append({"at_ns": chunk["arrival_ns"], "data": data})
    return list(requests.values())


def event(request, chunk):
    """Returns an event that says what the tape has of it."""

    def data(fields):
        return f"data: {json.dumps({'id': 'a', 'object': 'chat.completion.chunk'} | fields)}\n\n"

    def choice(delta, **more):
        return data({"choices": [{"index": 0, "delta": delta} | more]})

    channel, text = chunk["channel"], chunk.get("text")
    if channel in ("content", "reasoning", "tool") and text is None:
        raise Failure("the tape has no texts: make it with `--keep text`")
    usage = {
        "prompt_tokens": request.get("usage_input_tokens"),
        "completion_tokens": request.get("usage_output_tokens"),
    }
    called = [{"index": 0, "id": "b", "type": "function", "function": {"arguments": text}}]
    ways = {
        "role": lambda: choice({"role": "assistant", "content": ""}),
        "content": lambda: choice({"content": text}),
        "reasoning": lambda: choice({"reasoning_content": text}),
        "tool": lambda: choice({"tool_calls": called}),
        "empty": lambda: choice({}),
        "finish": lambda: choice({}, finish_reason=request["finish_reason"]),
        "usage": lambda: data({"choices": [], "usage": usage}),
        "error": lambda: data({"error": {"message": "replayed", "code": 500}}),
        "done": lambda: "data: [DONE]\n\n",
        "comment": lambda: ": replayed\n\n",
    }
    if channel not in ways:
        raise Failure(f"a replay of an event on `{channel}` is not known")
    return ways[channel]()


def is_close(tool, metric, ours, theirs, duration_s):
    allowed = ABSOLUTE
    if metric.endswith("_throughput"):
        allowed += ours * MERGED_S.get(tool, 0) / (duration_s - MERGED_S.get(tool, 0))
    if metric in LATENCIES:
        allowed = ABSOLUTE_NS.get(tool, 1e-3)
        if metric == "e2el":
            allowed = ABSOLUTE_E2EL_NS.get(tool, allowed)
    return abs(ours - theirs) <= allowed + RELATIVE * max(abs(ours), abs(theirs))


def replay(options):
    pythons = dict(entry.split("=", 1) for entry in options.python)
    ours = definitions(options.tokentape, options.tape, options.tokenizer)
    results, is_whole = [], True
    print("| tape | tool | version | numbers | equal | only here | only there | different |")
    print("|---|---|---|---:|---:|---:|---:|---|")
    for tape in options.tape:
        run = tape.name.removesuffix(".tape")
        asked = json.dumps(
            {"requests": requests_of(options.tokentape, tape), "tokenizer": options.tokenizer}
        )
        for tool in TOOLS:
            if tool not in pythons:
                continue
            done = subprocess.run(
                [pythons[tool], str(HERE / "definitions_tools.py"), tool],
                input=asked, capture_output=True, text=True, env=os.environ | ENVIRONMENT,
            )
            if done.returncode != 0:
                print(f"| {run} | {tool} | | failed: {done.stderr.strip()[-200:]} |")
                is_whole = False
                continue
            said = json.loads(done.stdout)
            theirs = {
                (metric, stat): value
                for metric, stats in said["figures"].items()
                for stat, value in stats.items()
                if value is not None and not math.isnan(value)
            }
            result = compare(tool, ours[run][tool], theirs)
            results.append({"tape": run, "tool": tool, "version": said["version"]} | result)
            counts = [result[key] for key in ("numbers", "equal")]
            apart = [len(result[key]) for key in ("only_here", "only_there")]
            differing = "; ".join(f"{row['metric']} {row['stat']}" for row in result["different"])
            cells = [run, tool, said["version"], *counts, *apart, differing or "none"]
            print("|", " | ".join(map(str, cells)), "|")
            is_whole &= not result["different"]
    return {"replays": results}, is_whole


def compare(tool, ours, theirs):
    """Holds two sets of numbers against each other."""
    rows = {"equal": 0, "only_here": [], "only_there": [], "different": []}
    duration_s, _ = ours["duration", "run"]
    for key in sorted(set(ours) | set(theirs)):
        (value, note), other = ours.get(key, (None, None)), theirs.get(key)
        row = {"metric": key[0], "stat": key[1], "ours": value, "theirs": other, "note": note}
        if value is None and other is None:
            continue
        if value is None:
            rows["only_there"].append(row)
        elif other is None:
            rows["only_here"].append(row)
        elif is_close(tool, key[0], value, other, duration_s):
            rows["equal"] += 1
        else:
            rows["different"].append(row)
    apart = sum(len(rows[key]) for key in ("only_here", "only_there", "different"))
    return {"numbers": rows["equal"] + apart} | rows


# Live runs


def read_vllm(run):
    result = json.loads((run.folder / "result.json").read_text())
    figures = {}
    for metric in ("ttft", "itl", "tpot", "e2el"):
        names = {"mean": "mean", "std": "std", "p50": "median", "p90": "p90", "p95": "p95", "p99": "p99"}
        for stat, name in names.items():
            figures[metric, stat] = result[f"{name}_{metric}_ms"] * 1e6
    names = {
        "duration": "duration", "completed": "completed", "failed": "failed",
        "input_tokens": "total_input_tokens", "output_tokens": "total_output_tokens",
        "request_throughput": "request_throughput", "output_throughput": "output_throughput",
        "total_throughput": "total_token_throughput",
    }
    return figures | {(metric, "run"): result[name] for metric, name in names.items()}


def read_aiperf(run):
    result = json.loads((run.folder / "profile_export_aiperf.json").read_text())
    figures = {}
    metrics = {
        "ttft": "time_to_first_token", "itl": "inter_token_latency", "icl": "inter_chunk_latency",
        "e2el": "request_latency",
    }
    stats = {"mean": "avg", "std": "std", "min": "min", "max": "max"}
    stats |= {stat: stat for stat in ("p50", "p90", "p95", "p99")}
    for metric, name in metrics.items():
        for stat, key in stats.items():
            if name in result and result[name].get(key) is not None:
                figures[metric, stat] = result[name][key] * 1e6
    names = {
        "duration": "benchmark_duration", "completed": "request_count",
        "output_tokens": "total_osl", "input_tokens": "total_isl",
        "request_throughput": "request_throughput", "output_throughput": "output_token_throughput",
        "input_throughput": "input_token_throughput", "total_throughput": "total_token_throughput",
    }
    for metric, name in names.items():
        if name in result:
            figures[metric, "run"] = result[name]["avg"]
    return figures


def read_guidellm(run):
    result = json.loads((run.folder / "result.json").read_text())["benchmarks"][0]["metrics"]
    figures = {}
    metrics = {
        "ttft": ("time_to_first_token_ms", 1e6), "itl": ("inter_token_latency_ms", 1e6),
        "tpot": ("time_per_output_token_ms", 1e6), "e2el": ("request_latency", 1e9),
    }
    for metric, (name, factor) in metrics.items():
        found = result[name]["successful"]
        stats = {"mean": found["mean"], "std": found["std_dev"]}
        stats |= {"min": found["min"], "max": found["max"]}
        stats |= {stat: found["percentiles"][stat] for stat in ("p50", "p90", "p95", "p99")}
        figures |= {(metric, stat): value * factor for stat, value in stats.items()}
    names = {
        "request_throughput": "requests_per_second", "input_throughput": "prompt_tokens_per_second",
        "output_throughput": "output_tokens_per_second", "total_throughput": "tokens_per_second",
    }
    figures |= {(metric, "run"): result[name]["successful"]["mean"] for metric, name in names.items()}
    totals = {"input_tokens": "prompt_token_count", "output_tokens": "output_token_count"}
    for metric, name in totals.items():
        figures[metric, "run"] = result[name]["successful"]["total_sum"]
    figures["completed", "run"] = result["request_totals"]["successful"]
    figures["failed", "run"] = result["request_totals"]["errored"]
    return figures


LIVE = {"vllm": (VllmServe(), read_vllm), "aiperf": (Aiperf(), read_aiperf), "guidellm": (Guidellm(), read_guidellm)}

# What the percentiles and metrics are that vLLM is to report.
MORE = {"vllm": ["--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "90,95,99"]}


def with_slots(arguments, slots):
    """Returns an adapter's command line with another number of requests at once."""
    changed = [re.sub(r"streams=\d+", f"streams={slots}", argument) for argument in arguments]
    for flag in ("--max-concurrency", "--concurrency"):
        if flag in changed:
            changed[changed.index(flag) + 1] = str(slots)
    return changed


def live(options):
    results, is_whole = [], True
    server = subprocess.Popen(
        [
            options.tokentape, "simulate", "--port", "0", "--until-stdin-closes",
            "--stream-rate", str(options.rate), "--stream-ttft", f"{options.ttft_ms}ms",
            "--served-model-name", "simulated",
        ],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    try:
        url = re.search(r"http://\S+?:\d+", server.stdout.readline())[0]
        for slots in options.slots:
            load = Load(streams=options.requests, tokens=options.tokens, rate_per_s=options.rate)
            with tempfile.TemporaryDirectory() as folder:
                folder = pathlib.Path(folder)
                tape = folder / "ours.tape"
                said_by([
                    options.tokentape, "load", "--backend", "openai", "--base-url", url,
                    "--endpoint", "/v1/completions", "--model", "simulated",
                    "--dataset-name", "random", "--random-input-len", "32",
                    "--random-output-len", str(options.tokens), "--ignore-eos",
                    "--num-prompts", str(options.requests), "--max-concurrency", str(slots),
                    "--no-summary", "--out", str(tape),
                ])
                ours = definitions(options.tokentape, [tape])["ours"]
                for tool, (client, read) in LIVE.items():
                    program = getattr(options, tool)
                    if not program:
                        continue
                    try:
                        run = run_client(client, program, (load, slots, url), options, folder)
                        theirs = read(run)
                    except (Failure, KeyError, OSError) as failure:
                        print(f"{tool}, {slots} at once: {failure}")
                        is_whole = False
                        continue
                    version = client.version(program)
                    result = {"tool": tool, "version": version, "slots": slots}
                    results.append(result | show(result, ours[tool], theirs))
    finally:
        server.stdin.close()
        server.wait(timeout=10)
    settings = {key: getattr(options, key) for key in ("requests", "tokens", "rate", "ttft_ms")}
    return {"load": settings, "live": results}, is_whole


def run_client(client, program, asked, options, folder):
    load, slots, url = asked
    here = folder / client.name
    here.mkdir()
    run = Run(load=load, program=program, url=url, folder=here, tokenizer=options.tokenizer)
    arguments = with_slots(client.arguments(run), slots) + MORE.get(client.name.split("-")[0], [])
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=options.timeout,
        env=os.environ | ENVIRONMENT | client.environment, cwd=here,
    )
    if done.returncode != 0:
        raise Failure(f"it ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return run


def show(of, ours, theirs):
    """Prints a client's numbers beside ours, and returns them."""
    print(f"\n{of['version']}, {of['slots']} at once\n")
    print("| metric | stat | it says | ours by its definition | difference |")
    print("|---|---|---:|---:|---:|")
    rows = []
    for (metric, stat), (value, _) in ours.items():
        other = theirs.get((metric, stat))
        if value is None or other is None:
            continue
        unit = 1e6 if metric in LATENCIES else 1
        difference = (other - value) / unit
        rows.append({"metric": metric, "stat": stat, "theirs": other / unit, "ours": value / unit})
        percent = f" ({100 * (other / value - 1):+.2f} %)" if value else ""
        print(f"| {metric} | {stat} | {other / unit:.3f} | {value / unit:.3f} | {difference:+.3f}{percent} |")
    return {"rows": rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ways = parser.add_subparsers(dest="way", required=True)
    for way in ("replay", "live"):
        sub = ways.add_parser(way)
        sub.add_argument("--tokentape", required=True)
        sub.add_argument("--tokenizer")
        sub.add_argument("--out", type=pathlib.Path)
        if way == "replay":
            sub.add_argument("--tape", type=pathlib.Path, nargs="+", required=True)
            sub.add_argument("--python", action="append", default=[], metavar="TOOL=PYTHON")
        else:
            for tool in LIVE:
                sub.add_argument(f"--{tool}")
            sub.add_argument("--slots", type=int, nargs="+", default=[1, 8])
            sub.add_argument("--requests", type=int, default=40)
            sub.add_argument("--tokens", type=int, default=50)
            sub.add_argument("--rate", type=int, default=100)
            sub.add_argument("--ttft-ms", type=int, default=50)
            sub.add_argument("--timeout", type=int, default=300)
    options = parser.parse_args()
    result, is_whole = replay(options) if options.way == "replay" else live(options)
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
