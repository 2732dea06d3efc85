#!/usr/bin/env python3
"""How truthful, and how costly, load clients are: each on the same server, whose text tells.

A token of the server's is the time at which it was sent, as text, and the first one of a stream
also the time at which the request had been read. So whatever a client keeps of its own times can be
held against the truth, token by token:

- TTFT error: how far the client's TTFT is from SENT − RECEIVED of the first token;
- inter-token error: how far the client's gap is from that between the two SENT;
- what the client says its median TTFT and ITL were, in its own sense of the words, beside what
  they were;
- CPU time, memory and duration of all its processes together, from start to end, and the CPU time
  of a run of one short stream, which is that of starting and ending.

`peers_clients.py` has the clients. Each writes down as much as it can of single tokens; one that
keeps less is held to what it keeps. The floor is the bare reader of `epoll_floor.rs`: its costs are
its own count, which ends with the last stream, before the stamps are looked at.

`peers_processes.py` has the processes. Every run has a fresh server on one core, the client on
another, and loopback between them: by default `cost serve`, that of `stamping_server.rs`, and with
`--server simulate` `tokentape simulate --stamp`, whose own queue shows at high rates. All requests
are begun at once, so that much of the TTFT error is the time in which the server reads them, or
with `--starts-per-s` one after another. This program shares the server's core: what delays the
server moves the truth, what delays the client would be taken for its error. Rounds rotate the
order; the tables have medians of the rounds. Percentiles are exact, with linear interpolation.
Memory is what is resident, looked at ten times a second; pages that processes share count for each.

    peers.py --cost COST_BENCH --tokentape PROGRAM --vllm-bench PROGRAM --vllm-serve VLLM
             --aiperf PROGRAM --guidellm PROGRAM --tokenizer FOLDER
             --streams 1000 --tokens 300 --rate 100 --rounds 3 --out results.json

COST_BENCH is the executable that `cargo bench --bench cost --no-run` makes, server and floor in one.
A program that is not named is looked for on the path; a client that is not there is skipped by
name. FOLDER has a model's `tokenizer.json`, which all but the first two clients need for prompts:
nothing is fetched. Tables go to stdout; `--out` takes the machine, the command lines and the
figures of every round.

Needs Linux, two cores with nothing else on them, and Python's standard library alone. Exits with 1
when a client failed, and with 2 when nothing could be measured.
"""

import argparse
import json
import math
import os
import pathlib
import platform
import re
import resource
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict

# The two modules beside this one are small, and the tree should stay as it is.
sys.dont_write_bytecode = True

from peers_clients import CLIENTS, PROMPT_TOKENS, Failure, Load, Run
from peers_processes import SERVERS, TTFT_MS, Costs, Server, Watch, adopt_orphans, start

# What is asked of a client to learn what starting and ending alone costs it.
NEXT_TO_NOTHING = Load(streams=1, tokens=2, rate_per_s=100)


# One run


def measure(client, programs, load, options, cores):
    """Runs one client once; returns what it kept and what it cost, for the record."""
    server_core, *client_cores = cores
    kind = SERVERS[options.server]
    served = kind.command(programs[kind.program_of], load, server_core)
    with (
        tempfile.TemporaryDirectory(prefix="tokentape-peers-") as folder,
        Server(served, server_core) as server,
    ):
        folder = pathlib.Path(folder)
        run = Run(load, programs[client.name], server.url, folder / "out", options.tokenizer)
        run.folder.mkdir()
        with open(folder / "stdout", "w+") as stdout, open(folder / "stderr", "w+") as stderr:
            started = time.monotonic()
            process = start(
                [run.program, *client.arguments(run)], set(client_cores), cwd=folder,
                environment=client.environment,
                stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
            )
            watch = Watch(process, server.process.pid)
            try:
                status = watch.until_end(options.timeout)
                wall_s = time.monotonic() - started
            finally:
                watch.end()
            stdout.seek(0)
            stderr.seek(0)
            run.stdout, talk = stdout.read(), stderr.read()
        server.check()
        if status is None:
            raise Failure(f"its process group was killed after {options.timeout:g} s")
        if status != 0:
            raise Failure(f"it ended with {status}: {complaint(talk + run.stdout)}")
        reading = client.read(run)
    if reading.complete_streams == 0:
        raise Failure("none of its requests was answered")
    figures = asdict(reading)
    costs = asdict(Costs(watch.cpu_s, wall_s, watch.peak_rss_bytes)) | figures.pop("own_costs")
    chunks = reading.complete_streams * load.tokens
    return figures | costs | {"cpu_s_per_million_chunks": costs["cpu_s"] / chunks * 1e6}


def complaint(talk):
    """Returns the first line that tells of an error, or else the last of all."""
    lines = [line.strip() for line in talk.splitlines() if line.strip()]
    complaints = [line for line in lines if re.search(r"\bERROR\b|^error|^[\w.]*Error\b", line)]
    return complaints[0] if complaints else (lines or ["it said nothing"])[-1]


# The record


def machine(cores, notes):
    """Describes the machine: no name of it or of its user, no path."""
    cpus = pathlib.Path("/proc/cpuinfo").read_text()
    memory = pathlib.Path("/proc/meminfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", cpus, re.MULTILINE)
    return {
        "cpu": model.group(1) if model else platform.machine(),
        "cores": os.cpu_count(),
        "server_core": cores[0],
        "client_cores": cores[1:],
        "memory_gib": round(int(re.search(r"MemTotal:\s+(\d+)", memory).group(1)) / 2**20, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "notes": notes,
    }


def shown_command(client, options):
    """Returns the command line as it is recorded, with words for what belongs to this machine."""
    run = Run(options.load, "", "http://ADDRESS", pathlib.Path("OUT"), "TOKENIZER")
    return shlex.join([client.program_name, *client.arguments(run)])


# The tables


def medians(runs):
    """Returns the median of every figure over the rounds of one client, by dotted name."""
    flat = [dict(leaves(run)) for run in runs]
    names = {name: None for figures in flat for name in figures}
    return {
        name: statistics.median(figures[name] for figures in flat if name in figures)
        for name in names
    }


def leaves(figures, prefix=""):
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float)):
            yield prefix + name, value


def in_ms(figures, name):
    return f"{figures[name] / 1e6:.3g}" if name in figures else "–"


def tables(record):
    """Renders the medians as two Markdown tables, and says what is not in them."""
    load = record["load"]
    errors = [
        "| client | TTFT error p50 / p99 / p99.9 / max ms | inter-token error, same, ms "
        "| says TTFT (true) ms | says ITL (true) ms |",
        "|---|---|---|---|---|",
    ]
    costs = [
        "| client | CPU s (of it to start and end) | CPU s per million chunks (beyond that) "
        "| peak MiB | wall s | streams answered |",
        "|---|---|---|---|---|---|",
    ]
    remarks = []
    for name, about in record["clients"].items():
        title = about["title"]
        if "skipped" in about:
            remarks.append(f"- {title}: skipped, {about['skipped']}")
        runs_of_it = [run for run in record["runs"] if run["client"] == name]
        for run in runs_of_it:
            if "failure" in run:
                remarks.append(f"- {title}, round {run['round']}: {run['failure']}")
            elif unmatched := run["figures"]["unmatched_streams"]:
                remarks.append(
                    f"- {title}, round {run['round']}: the gaps of {unmatched} streams could not "
                    "be matched with their tokens, and are not in its inter-token error"
                )
        whole = [run["figures"] for run in runs_of_it if "figures" in run]
        if whole:
            figures = medians(whole)
            errors.append(row_of_errors(title, figures))
            start_s = about.get("next_to_nothing", {}).get("cpu_s", math.nan)
            costs.append(row_of_costs(title, figures, start_s, load["streams"]))
    starts = f"begun {load['starts_per_s']} a second" if load["starts_per_s"] else "begun at once"
    conditions = (
        f"{load['streams']} streams of {load['tokens']} tokens at {load['rate_per_s']:g}/s each, "
        f"{starts}, from `{record['server']}`; "
        f"medians of the rounds, of which there are {record['rounds']}."
    )
    return "\n".join([conditions, "", *errors, "", *costs, *([""] if remarks else []), *remarks])


def row_of_errors(title, figures):
    cells = [title]
    for metric in ("ttft", "itl"):
        shares = ("p50", "p99", "p999", "max")
        cells.append(" / ".join(in_ms(figures, f"{metric}_error_ns.{share}") for share in shares))
    for metric in ("ttft", "itl"):
        says = in_ms(figures, f"says_{metric}_p50_ns")
        cells.append(f"{says} ({in_ms(figures, f'true_{metric}_p50_ns')})")
    return f"| {' | '.join(cells)} |"


def row_of_costs(title, figures, start_s, streams):
    per_million = figures["cpu_s_per_million_chunks"]
    beyond = per_million * (1 - start_s / figures["cpu_s"])
    return (
        f"| {title} | {figures['cpu_s']:.2f} ({start_s:.2f}) | {per_million:.1f} ({beyond:.1f}) "
        f"| {figures['peak_rss_bytes'] / 2**20:.0f} | {figures['wall_s']:.1f} "
        f"| {figures['complete_streams']:g} of {streams} |"
    )


# The program


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="The head of this file says what is measured, and how.",
    )
    parser.add_argument("--streams", type=int, default=1000, help="requests")
    parser.add_argument("--tokens", type=int, default=300, help="tokens of each answer")
    parser.add_argument("--rate", type=float, default=100, help="tokens a second of each stream")
    parser.add_argument("--starts-per-s", type=int, metavar="N",
                        help="requests begun a second, evenly; else all are begun at once")
    parser.add_argument("--server", choices=SERVERS, default="cost",
                        help="which program serves: `cost`, the leanest, or `simulate`")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--timeout", type=float, default=300, metavar="S",
                        help="seconds that a run may take")
    parser.add_argument("--client-cores", type=int, default=1, metavar="N",
                        help="cores of the client")
    parser.add_argument("--clients", metavar="NAMES", help="only these, with commas between them")
    parser.add_argument("--tokenizer", metavar="FOLDER", help="a model's folder with its tokenizer")
    parser.add_argument("--note", action="append", default=[], metavar="TEXT",
                        help="what a reader should know of the machine, or of a build; "
                             "may be repeated")
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE",
                        help="where the raw results go, as JSON")
    for client in CLIENTS:
        parser.add_argument(f"--{client.flag}", dest=client.name, metavar="PROGRAM",
                            help=f"the program of {client.title}")
    options = parser.parse_args()
    options.load = Load(options.streams, options.tokens, options.rate, options.starts_per_s)
    if options.tokenizer:
        options.tokenizer = str(pathlib.Path(options.tokenizer).resolve())
    names = [client.name for client in CLIENTS]
    options.wanted = options.clients.split(",") if options.clients else names
    if unknown := set(options.wanted) - set(names):
        parser.error(f"`{unknown.pop()}` is no client; there are {', '.join(names)}")
    return options


def find_clients(options):
    """Returns the programs that are there, and what the record says of every client."""
    programs, about = {}, {}
    for client in CLIENTS:
        program = shutil.which(getattr(options, client.name) or client.program_name)
        if program:
            # Not resolved: a link into an environment is how that is found.
            programs[client.name] = os.path.abspath(program)
        if client.name not in options.wanted:
            continue
        entry = about[client.name] = {"title": client.title}
        if not program:
            entry["skipped"] = f"no program (`--{client.flag}`)"
        elif client.needs_tokenizer and not options.tokenizer:
            entry["skipped"] = "it needs `--tokenizer`"
        else:
            try:
                entry["version"] = client.version(programs[client.name])
            except (Failure, OSError) as error:
                entry["skipped"] = f"it does not tell its version: {error}"
                continue
            entry["command"] = shown_command(client, options)
    return programs, about


def main():
    options = parse_arguments()
    cores = sorted(os.sched_getaffinity(0))[: 1 + options.client_cores]
    if len(cores) < 1 + options.client_cores:
        return refuse("the server and the client need cores of their own")
    programs, about = find_clients(options)
    server = SERVERS[options.server]
    if server.program_of not in programs:
        return refuse(f"`{server.program_name}` is the server: name it with `--{server.program_name}`")
    prepare(cores)
    record = {
        "load": asdict(options.load) | {"ttft_ms": TTFT_MS, "prompt_tokens": PROMPT_TOKENS},
        "rounds": options.rounds,
        "machine": machine(cores, options.note),
        "server": server.shown(options.load, cores[0]),
        "clients": about,
        "runs": [],
    }
    try:
        for run in runs(programs, about, options, cores):
            record["runs"].append(run)
            # After each, for a series may take an hour.
            save(record, options.out)
    except KeyboardInterrupt:
        print("interrupted: what follows is not whole", file=sys.stderr)
    print(tables(record))
    if not any("figures" in run for run in record["runs"]):
        return 2
    return 1 if any("failure" in run for run in record["runs"]) else 0


def refuse(why):
    print(f"skipped: {why}", file=sys.stderr)
    return 2


def prepare(cores):
    """Makes this process see its orphans, and keep off the clients' cores."""
    adopt_orphans()
    os.sched_setaffinity(0, {cores[0]})
    # 1,000 streams are 1,000 files.
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    # Whoever ends this program ends the clients and the server as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def runs(programs, about, options, cores):
    """Runs every client that is there in every round, and yields what goes into the record."""

    def attempt(number, client, load):
        print(f"round {number}: {client.title}", file=sys.stderr)
        run = {"round": number, "client": client.name}
        try:
            return run | {"figures": measure(client, programs, load, options, cores)}
        except (Failure, OSError, LookupError, TypeError, ValueError) as error:
            run["failure"] = failure(error)
            print(f"  {run['failure']}", file=sys.stderr)
            return run

    present = [client for client in CLIENTS if "command" in about.get(client.name, {})]
    # Before the rounds, which also brings programs of many files into the disk's cache.
    for client in present:
        nothing = attempt(0, client, NEXT_TO_NOTHING)
        if "figures" in nothing:
            about[client.name]["next_to_nothing"] = {
                name: nothing["figures"][name] for name in ("cpu_s", "wall_s", "peak_rss_bytes")
            }
    for number in range(options.rounds if present else 0):
        turn = number % len(present)
        for client in present[turn:] + present[:turn]:
            yield attempt(number + 1, client, options.load)


def save(record, path):
    # In the order of the clients, and not in that in which they ran.
    place = {client.name: number for number, client in enumerate(CLIENTS)}
    record["runs"].sort(key=lambda run: (place[run["client"]], run["round"]))
    if path:
        path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def failure(error):
    """Says what went wrong in one line without paths, for it goes into the record."""
    text = str(error) if isinstance(error, Failure) else f"its results can't be read: {error!r}"
    return re.sub(r"(/[\w.+-]+){2,}", "PATH", text)


if __name__ == "__main__":
    sys.exit(main())
