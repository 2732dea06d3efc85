"""The load clients that `peers.py` compares: how each is run, and what it keeps of its streams.

To add one, write an adapter and list it in `CLIENTS`. What it reads is single times, if the client
keeps any, and the text that came with them, whose stamps are the truth; see the head of `peers.py`.
Needs Python's standard library alone.
"""

import csv
import io
import json
import os
import pathlib
import statistics
import subprocess
from dataclasses import dataclass, field

MODEL = "simulated"
PROMPT_TOKENS = 32

QUERIES = pathlib.Path(__file__).resolve().parent.parent / "queries"

# No client may look for a model, or a proxy, or tell anyone that it ran.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "NO_COLOR": "1",
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
}


class Failure(Exception):
    """Why a client, or the server, gave no figures."""


# What is held against what


@dataclass
class Load:
    """What every client is asked to do."""

    streams: int
    tokens: int
    rate_per_s: float
    # Requests begun a second; None begins all at once.
    starts_per_s: int | None = None


@dataclass
class Stream:
    """One answer, as its client kept it; times in nanoseconds."""

    text: str
    ttft_ns: float | None = None
    gaps_ns: list[float] | None = None


@dataclass
class Reading:
    """What one run of a client gave; a figure that it does not keep is absent."""

    complete_streams: int
    ttft_error_ns: dict | None = None
    itl_error_ns: dict | None = None
    read_lag_ns: dict | None = None
    says_ttft_p50_ns: float | None = None
    says_itl_p50_ns: float | None = None
    true_ttft_p50_ns: float | None = None
    true_itl_p50_ns: float | None = None
    # Streams whose gaps could not be told apart; their errors are not among those above.
    unmatched_streams: int = 0
    # A client's own count of its costs, where that stands for the measured one.
    own_costs: dict = field(default_factory=dict)


def quantile(ascending, share):
    """Returns a quantile of ascending values, with linear interpolation."""
    position = share * (len(ascending) - 1)
    below = int(position)
    above = min(below + 1, len(ascending) - 1)
    return ascending[below] + (ascending[above] - ascending[below]) * (position - below)


def distribution(values):
    """Returns the percentiles that are reported; None where there are no values."""
    if not values:
        return None
    values = sorted(values)
    shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1}
    return {"n": len(values)} | {name: quantile(values, share) for name, share in shares.items()}


def stamps(text):
    """Returns when the request was received and each token sent, as an answer's text says.

    Of a text that is no such answer there is nothing to return.
    """
    try:
        first, *later = text.split()
        received, sent = first.split(":")
        return int(received), [int(sent), *map(int, later)]
    except ValueError:
        return None


def differences(values):
    return [after - before for before, after in zip(values, values[1:])]


def hold_against_truth(load, streams, says_ttft_ns, says_itl_ns):
    """Compares what a client kept of its streams with the stamps in their texts."""
    ttft_errors, itl_errors, true_ttfts, true_gaps = [], [], [], []
    complete, unmatched = 0, 0
    for stream in streams:
        told = stamps(stream.text)
        if told is None:
            # Not among those that were answered.
            continue
        received_ns, sent_ns = told
        complete += len(sent_ns) == load.tokens
        ttft_ns, gaps_ns = sent_ns[0] - received_ns, differences(sent_ns)
        true_ttfts.append(ttft_ns)
        true_gaps.extend(gaps_ns)
        if stream.ttft_ns is not None:
            ttft_errors.append(abs(stream.ttft_ns - ttft_ns))
        if stream.gaps_ns is not None:
            # The event with the reason of the end has no text, and some count it as a gap.
            if len(stream.gaps_ns) - len(gaps_ns) in (0, 1):
                itl_errors.extend(abs(a - b) for a, b in zip(stream.gaps_ns, gaps_ns))
            else:
                unmatched += 1
    return Reading(
        complete_streams=complete,
        ttft_error_ns=distribution(ttft_errors),
        itl_error_ns=distribution(itl_errors),
        says_ttft_p50_ns=says_ttft_ns,
        says_itl_p50_ns=says_itl_ns,
        true_ttft_p50_ns=statistics.median(true_ttfts) if true_ttfts else None,
        true_itl_p50_ns=statistics.median(true_gaps) if true_gaps else None,
        unmatched_streams=unmatched,
    )


# What the clients are asked


def said_by(command):
    """Returns what a command that is no part of the measurement prints."""
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | ENVIRONMENT)
    if done.returncode != 0:
        raise Failure(f"`{pathlib.Path(command[0]).name}` said: {done.stderr.strip()[-300:]}")
    return done.stdout.strip()


def package_version(program, package):
    """Asks the Python of a program's environment, which is faster than the program."""
    python = pathlib.Path(program).parent / "python"
    ask = f"import importlib.metadata as m; print(m.version({package!r}))"
    return f"{package} {said_by([str(python), '-c', ask])}"


# The clients


@dataclass
class Run:
    """What an adapter knows of one run."""

    load: Load
    program: str
    url: str
    folder: pathlib.Path
    tokenizer: str
    stdout: str = ""


class Client:
    """An adapter: the command line of a load client, and the way to what it kept."""

    name = ""
    title = ""
    # What the program is called where it is on the path.
    program_name = ""
    needs_tokenizer = True
    environment = {}

    @property
    def flag(self):
        """The flag of `peers.py` that takes the program's path."""
        return self.name

    def version(self, program):
        return said_by([program, "--version"])

    def arguments(self, run):
        raise NotImplementedError

    def read(self, run):
        raise NotImplementedError


class Floor(Client):
    name = "floor"
    # The executable of the bench, which has the leanest server in it as well.
    program_name = flag = "cost"
    title = "bare epoll reader (the floor)"
    needs_tokenizer = False

    def version(self, program):
        return "of this repository"

    def arguments(self, run):
        return [
            "floor",
            "--addr", run.url.removeprefix("http://"),
            "--streams", str(run.load.streams),
            "--tokens", str(run.load.tokens),
            *(["--starts-per-s", str(run.load.starts_per_s)] if run.load.starts_per_s else []),
        ]

    def read(self, run):
        report = json.loads(run.stdout)
        return Reading(
            complete_streams=report["streams"] - report["failed"],
            ttft_error_ns=report["ttft_error_ns"],
            itl_error_ns=report["gap_error_ns"],
            read_lag_ns=report["read_lag_ns"],
            own_costs={key: report[key] for key in ("cpu_s", "wall_s", "peak_rss_bytes")},
        )


class Tokentape(Client):
    name = program_name = "tokentape"
    title = "tokentape load --keep text"
    needs_tokenizer = False

    def arguments(self, run):
        return [
            "load",
            "--backend", "vllm",
            "--base-url", run.url,
            "--model", MODEL,
            *random_prompts(run.load),
            *self.starts(run.load),
            "--keep", "text",
            "--no-summary",
            "--out", str(run.folder / "run.tape"),
        ]

    def starts(self, load):
        if load.starts_per_s:
            return ["--arrivals", "constant", "--request-rate", str(load.starts_per_s)]
        return ["--max-concurrency", str(load.streams)]

    def read(self, run):
        errors = self.table(run, QUERIES / "client_error.sql")
        says = self.table(run, QUERIES / "latency_percentiles.sql")
        # The texts themselves, so that the truth is read the same way for all clients.
        texts = self.table(
            run,
            "SELECT string_agg(text, '' ORDER BY seq) AS text FROM chunks "
            "WHERE is_token_bearing GROUP BY request_id",
        )
        says = {row["metric"]: float(row["p50_ns"]) for row in says if row["p50_ns"]}
        reading = hold_against_truth(
            run.load, [Stream(row["text"]) for row in texts], says.get("ttft"), says.get("itl")
        )
        errors = {row["metric"]: row for row in errors}
        for metric in ("ttft_error", "itl_error", "read_lag"):
            row = errors[metric]
            figures = {key: float(row[f"{key}_ns"]) for key in ("p50", "p99", "p999", "max")}
            setattr(reading, f"{metric}_ns", {"n": int(row["n"])} | figures)
        return reading

    def table(self, run, query):
        """Returns the rows of a query, or of a file with one, over the tape."""
        tape = str(run.folder / "run.tape")
        asked = ["-f", str(query)] if isinstance(query, pathlib.Path) else ["-c", query]
        command = [run.program, "sql", tape, "--format", "csv", *asked]
        return list(csv.DictReader(io.StringIO(said_by(command))))


class VllmBench(Client):
    name = program_name = "vllm-bench"
    title = "vllm-bench (Rust)"
    verb = ()
    # Of text, it would have the server count the tokens, which `cost serve` does not do.
    prompts = ("--prompt-token-ids",)

    def arguments(self, run):
        return [
            *self.verb,
            "--backend", "openai",
            "--endpoint", "/v1/completions",
            "--base-url", run.url,
            "--model", MODEL,
            "--tokenizer", run.tokenizer,
            *random_prompts(run.load),
            *self.prompts,
            *self.starts(run.load),
            "--ready-check-timeout-sec", "0",
            "--disable-tqdm",
            "--save-result",
            "--save-detailed",
            "--result-dir", str(run.folder),
            "--result-filename", "result.json",
        ]

    def starts(self, load):
        if load.starts_per_s:
            # Gaps are drawn; of so high a burstiness, they are next to equal.
            return ["--request-rate", str(load.starts_per_s), "--burstiness", "1000000"]
        return ["--max-concurrency", str(load.streams)]

    def read(self, run):
        result = json.loads((run.folder / "result.json").read_text())
        kept = zip(
            result["errors"], result["generated_texts"], result["ttfts"], result["itls"],
            strict=True,
        )
        streams = [
            Stream(text, ttft * 1e9, [gap * 1e9 for gap in gaps])
            for error, text, ttft, gaps in kept
            if not error
        ]
        says_ms = (result["median_ttft_ms"], result["median_itl_ms"])
        return hold_against_truth(run.load, streams, *(ms * 1e6 for ms in says_ms))


class VllmServe(VllmBench):
    name = "vllm-serve"
    title = "vllm bench serve (Python)"
    program_name = "vllm"
    verb = ("bench", "serve")
    prompts = ()

    def version(self, program):
        return package_version(program, "vllm")


def random_prompts(load):
    """Returns the flags that tokentape has from vLLM, whose clients share them."""
    return [
        "--dataset-name", "random",
        "--random-input-len", str(PROMPT_TOKENS),
        "--random-output-len", str(load.tokens),
        "--ignore-eos",
        "--num-prompts", str(load.streams),
    ]


class Aiperf(Client):
    name = program_name = "aiperf"
    title = "AIPerf"
    # Offline, it takes a tokenizer's folder for a name on the hub; any value means offline.
    environment = {"HF_HUB_OFFLINE": ""}

    def version(self, program):
        return package_version(program, "aiperf")

    def arguments(self, run):
        streams = str(run.load.streams)
        return [
            "profile",
            "--model", MODEL,
            "--url", run.url,
            "--endpoint-type", "completions",
            "--streaming",
            "--use-legacy-max-tokens",
            "--extra-inputs", "ignore_eos:true",
            "--tokenizer", run.tokenizer,
            # A stamp is many tokens to a tokenizer, and counting them is not the client's work.
            "--use-server-token-count",
            "--isl", str(PROMPT_TOKENS),
            "--osl", str(run.load.tokens),
            "--num-prompts", streams,
            "--request-count", streams,
            *self.starts(run.load),
            "--artifact-dir", str(run.folder),
            "--export-level", "records",
            "--export-outputs-json",
            "--no-gpu-telemetry",
            "--no-server-metrics",
            "--ui", "none",
        ]

    def starts(self, load):
        if load.starts_per_s:
            return ["--arrival-pattern", "constant", "--request-rate", str(load.starts_per_s)]
        return ["--concurrency", str(load.streams)]

    def read(self, run):
        outputs = json.loads((run.folder / "outputs.json").read_text())["data"]
        texts = {output["x_request_id"]: output["response_text"] for output in outputs}
        streams = []
        for line in (run.folder / "profile_export.jsonl").read_text().splitlines():
            record = json.loads(line)
            metrics = record["metrics"]
            text = texts.get(record["metadata"]["x_request_id"])
            if text and "time_to_first_token" in metrics:
                gaps_ms = metrics["inter_chunk_latency"]["value"]
                ttft_ns = metrics["time_to_first_token"]["value"] * 1e6
                streams.append(Stream(text, ttft_ns, [gap * 1e6 for gap in gaps_ms]))
        summary = json.loads((run.folder / "profile_export_aiperf.json").read_text())
        says_ms = (summary[name]["p50"] for name in ("time_to_first_token", "inter_token_latency"))
        return hold_against_truth(run.load, streams, *(ms * 1e6 for ms in says_ms))


class Guidellm(Client):
    name = program_name = "guidellm"
    title = "GuideLLM"

    def version(self, program):
        return package_version(program, "guidellm")

    def arguments(self, run):
        load = run.load
        backend = f"kind=openai_http,target={run.url},model={MODEL},request_format=/v1/completions"
        profile = f"kind=concurrent,streams={load.streams}"
        if load.starts_per_s:
            profile = f"kind=constant,rate={load.starts_per_s}"
        data = f"kind=synthetic_text,prompt_tokens={PROMPT_TOKENS},output_tokens={load.tokens}"
        return [
            "run",
            "--backend", backend,
            "--profile", profile,
            "--constraint", f"kind=max_requests,count={load.streams}",
            "--tokenizer", f"kind=huggingface_auto,model={run.tokenizer}",
            "--data", data,
            "--output", f"kind=json,path={run.folder / 'result.json'}",
            "--disable-console",
        ]

    def read(self, run):
        benchmark = json.loads((run.folder / "result.json").read_text())["benchmarks"][0]
        # Of the gaps, only each request's mean is kept.
        streams = [
            Stream(request["output"], request["time_to_first_token_ms"] * 1e6)
            for request in benchmark["requests"]["successful"]
        ]
        says_ms = (
            benchmark["metrics"][name]["successful"]["median"]
            for name in ("time_to_first_token_ms", "inter_token_latency_ms")
        )
        return hold_against_truth(run.load, streams, *(ms * 1e6 for ms in says_ms))


CLIENTS = (Floor(), Tokentape(), VllmBench(), VllmServe(), Aiperf(), Guidellm())
