#!/usr/bin/env python3
"""What other load clients would say of requests that a tape has: their own code, fed with its times.

For each client there is a function here that hands the events of a tape to that client's own reader
of streams, with its clock set to when each event came, and its results to the client's own
statistics. Nothing of what is compared is computed here. `definitions.py` calls this program, once
a client, with the Python that the client is installed for:

    definitions_tools.py CLIENT < requests.json > figures.json

What goes in is `{"requests": [...], "tokenizer": FILE or null}`; a request has the columns of the
tape and `events`, each with the bytes to replay and the time at which they came. What comes out is
`{"version": ..., "figures": {metric: {stat: value}}}`, in nanoseconds, seconds and tokens.

SGLang's client needs a GPU's worth of packages to be imported as it is: here it is imported from an
unpacked wheel, the folder of which is named in SGLANG_WHEEL, with the modules that it does not use
for this replaced by empty ones.
"""

import asyncio
import contextlib
import importlib.metadata
import json
import os
import pathlib
import sqlite3
import sys
import tempfile
import types

NS = 1e9
PERCENTILES = {"p50": 50, "p90": 90, "p95": 95, "p99": 99}


# The clock and the connection that a client is given


class Clock:
    """Stands in for the module `time` of a client: it says when the event came that is replayed."""

    def __init__(self, tick_ns=0):
        # How far it goes each time it is read, for a client that divides by what passes meanwhile.
        self.now_ns, self.tick_ns = 0, tick_ns

    def time(self):
        self.now_ns += self.tick_ns
        return self.now_ns / NS

    perf_counter = monotonic = time

    def perf_counter_ns(self):
        return self.now_ns


class Answer:
    """A response of aiohttp, httpx or requests, as far as the clients look at one."""

    def __init__(self, request, clock):
        self.request, self.clock = request, clock
        self.status = self.status_code = request["http_status"] or 0
        self.reason = "replayed"
        self.text_value = request["error_message"] or ""
        self.headers = {"Content-Type": "text/event-stream"}
        self.content = self

    def events(self):
        for event in self.request["events"]:
            # A clock that ticks may be past the time of an event that came in the same read.
            self.clock.now_ns = max(self.clock.now_ns, event["at_ns"])
            yield event["data"].encode()
        self.clock.now_ns = max(self.clock.now_ns, self.request["end_ns"])
        if self.request["is_broken"]:
            raise ConnectionError("replayed: the connection broke")

    async def iter_any(self):
        for data in self.events():
            yield data

    async def lines(self):
        for data in self.events():
            for line in data.splitlines(keepends=True):
                yield line

    def __aiter__(self):
        return self.lines()

    async def aiter_lines(self):
        async for line in self.lines():
            yield line.decode().rstrip("\n")

    def iter_lines(self, **_):
        for data in self.events():
            yield from data.split(b"\n")

    async def text(self):
        return self.text_value

    async def json(self):
        return {"error": {"message": self.text_value}}

    def raise_for_status(self):
        if self.status != 200:
            raise ConnectionError(f"replayed: status {self.status}")


class Session:
    """A session of aiohttp or httpx whose every request is the one that is replayed."""

    def __init__(self, request, clock):
        self.request, self.clock = request, clock

    @contextlib.asynccontextmanager
    async def post(self, *_, **__):
        if self.request["http_status"] is None:
            self.clock.now_ns = self.request["end_ns"]
            raise ConnectionError("replayed: no response")
        yield Answer(self.request, self.clock)

    @contextlib.asynccontextmanager
    async def stream(self, extensions=None, **_):
        self.clock.now_ns = self.request["sent_ns"] or self.request["dispatched_ns"]
        await extensions["trace"]("http11.send_request_headers.started", {})
        async with self.post() as answer:
            yield answer

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return False


class Tokenizer:
    """A tokenizer in the ways in which the clients call one."""

    def __init__(self, path):
        self.inner = None
        if path:
            import tokenizers

            self.inner = tokenizers.Tokenizer.from_file(path)

    def encode(self, text, **_):
        # Without a tokenizer a count would be an invention: what hangs on it is left out.
        return self.inner.encode(text, add_special_tokens=False).ids if self.inner else []

    def __call__(self, text, **_):
        return types.SimpleNamespace(input_ids=self.encode(text))

    def count_tokens(self, text, **_):
        return len(self.encode(text))


def seconds_of_run(requests):
    """The length of a run for clients that time it from the start of the schedule."""
    return max(request["end_ns"] for request in requests) / NS


def millisecond_stats(value_of, metric, stats):
    return {stat: value_of(metric, key) * 1e6 for stat, key in stats.items()}


# The clients


def vllm(requests, tokenizer):
    from vllm.benchmarks import serve
    from vllm.benchmarks.lib import endpoint_request_func as client

    clock = client.time = Clock()
    outputs = []
    for request in requests:
        clock.now_ns = request["dispatched_ns"]
        asked = client.RequestFuncInput(
            prompt="", api_url="http://replayed/v1/chat/completions", model="replayed",
            prompt_len=request["input_tokens_planned"], output_len=request["output_tokens_planned"],
        )
        session = Session(request, clock)
        outputs.append(asyncio.run(client.async_request_openai_chat_completions(asked, session)))
    found, _ = serve.calculate_metrics(
        [], outputs, seconds_of_run(requests), tokenizer if tokenizer.inner else None,
        [float(percent) for percent in PERCENTILES.values()], {},
    )
    figures = {}
    for metric in ("ttft", "itl", "tpot", "e2el"):
        percentiles = dict(getattr(found, f"percentiles_{metric}_ms"))
        figures[metric] = {
            "mean": getattr(found, f"mean_{metric}_ms") * 1e6,
            "std": getattr(found, f"std_{metric}_ms") * 1e6,
        } | {stat: percentiles[float(percent)] * 1e6 for stat, percent in PERCENTILES.items()}
    return "vllm", figures | of_run(
        duration=seconds_of_run(requests), completed=found.completed, failed=found.failed,
        input_tokens=found.total_input, output_tokens=found.total_output,
        request_throughput=found.request_throughput, output_throughput=found.output_throughput,
        total_throughput=found.total_token_throughput,
    )


def sglang(requests, tokenizer):
    client = sglang_client()
    client.args = types.SimpleNamespace(
        disable_stream=False, disable_ignore_eos=False, return_logprob=False, print_requests=False,
        header=None, cache_report=False,
    )
    clock = client.time = Clock()
    outputs = []
    for request in requests:
        clock.now_ns = request["dispatched_ns"]
        client._create_bench_client_session = lambda: Session(request, clock)
        asked = client.RequestFuncInput(
            prompt="", api_url="http://replayed/v1/chat/completions", model="replayed",
            prompt_len=request["input_tokens_planned"], output_len=request["output_tokens_planned"],
            lora_name="", image_data=None, extra_request_body={},
        )
        outputs.append(asyncio.run(client.async_request_openai_chat_completions(asked)))
    rows = [
        types.SimpleNamespace(
            prompt_len=request["input_tokens_planned"],
            text_prompt_len=request["input_tokens_planned"], vision_prompt_len=0,
        )
        for request in requests
    ]
    found, _ = client.calculate_metrics(
        rows, outputs, seconds_of_run(requests), tokenizer, "sglang-oai-chat"
    )
    figures = {}
    for metric, name in (("ttft",) * 2, ("itl",) * 2, ("tpot",) * 2, ("e2el", "e2e_latency")):
        stats = {"mean": "mean", "std": "std", "p50": "median", "p90": "p90", "p95": "p95", "p99": "p99"}
        figures[metric] = {
            stat: getattr(found, f"{key}_{name}_ms") * 1e6 for stat, key in stats.items()
        }
    failed = sum(not output.success for output in outputs)
    return "sglang", figures | of_run(
        duration=seconds_of_run(requests), completed=found.completed, failed=failed,
        input_tokens=found.total_input, output_tokens=found.total_output,
        request_throughput=found.request_throughput, input_throughput=found.input_throughput,
        output_throughput=found.output_throughput, total_throughput=found.total_throughput,
    )


def sglang_client():
    """Imports `sglang/benchmark/serving.py` alone out of an unpacked wheel."""
    folder = pathlib.Path(os.environ["SGLANG_WHEEL"])

    class Unused(types.ModuleType):
        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {})

    for name in (
        "sglang", "sglang.benchmark", "sglang.benchmark.datasets", "sglang.benchmark.utils",
        "sglang.benchmark.datasets.mooncake", "sglang.srt", "sglang.srt.disaggregation",
        "sglang.srt.disaggregation.utils", "sglang.srt.utils", "sglang.srt.utils.network",
    ):
        sys.modules[name] = Unused(name)
    for name in ("sglang", "sglang.benchmark"):
        sys.modules[name].__path__ = [str(folder.joinpath(*name.split(".")))]
    import importlib

    client = importlib.import_module("sglang.benchmark.serving")
    client.remove_prefix = lambda text, prefix: text.removeprefix(prefix)
    return client


def aiperf(requests, tokenizer):
    import numpy as np
    from aiperf.common.models import ParsedResponseRecord, RequestRecord, SSEMessage
    from aiperf.common.models.record_models import TokenCounts
    from aiperf.endpoints.openai_chat import ChatEndpoint
    from aiperf.metrics.metric_dicts import MetricRecordDict, metric_result_from_array
    from aiperf.metrics.types.inter_chunk_latency_metric import InterChunkLatencyMetric
    from aiperf.metrics.types.inter_token_latency_metric import InterTokenLatencyMetric
    from aiperf.metrics.types.output_sequence_length_metric import OutputSequenceLengthMetric
    from aiperf.metrics.types.request_latency_metric import RequestLatencyMetric
    from aiperf.metrics.types.ttft_metric import TTFTMetric
    from aiperf.records.inference_result_parser import InferenceResultParser
    from aiperf.common.exceptions import NoMetricValue

    endpoint = object.__new__(ChatEndpoint)
    parser = object.__new__(InferenceResultParser)
    endpoint.is_enabled_for = parser.is_enabled_for = lambda *_: False
    parser.run = types.SimpleNamespace(cfg=types.SimpleNamespace(endpoint=types.SimpleNamespace(
        per_chunk_usage=False
    )))
    # Times must be above 0 for it, and are: a clock of a machine that runs.
    origin_ns = 10**12
    samples = {metric: [] for metric in ("ttft", "itl", "icl", "e2el")}
    starts, ends, counts = [], [], []
    for request in requests:
        messages = [
            SSEMessage.parse(event["data"].strip(), event["at_ns"] + origin_ns)
            for event in request["events"]
        ]
        parsed = [endpoint.parse_response(message) for message in messages]
        is_failed = request["http_status"] != 200 or request["is_broken"]
        record = RequestRecord(
            model_name="replayed", timestamp_ns=request["dispatched_ns"] + origin_ns,
            start_perf_ns=request["dispatched_ns"] + origin_ns,
            end_perf_ns=request["end_ns"] + origin_ns, status=request["http_status"],
        )
        responses = [response for response in parsed if response]
        record = ParsedResponseRecord(request=record, responses=responses, token_counts=TokenCounts())
        if is_failed or not record.valid:
            continue
        if tokenizer.inner:
            texts, reasonings = parser._parse_output_and_reasoning_texts(responses)
            tokens = TokenCounts(
                input=request["usage_input_tokens"],
                output=len(tokenizer.encode("".join(texts))) if texts else None,
                reasoning=len(tokenizer.encode("".join(reasonings))) if reasonings else None,
            )
        else:
            tokens = asyncio.run(parser._compute_server_token_counts(responses))
        record.token_counts = tokens
        of_record = MetricRecordDict()
        for name, metric in (
            ("ttft", TTFTMetric), ("e2el", RequestLatencyMetric), ("osl", OutputSequenceLengthMetric),
            ("itl", InterTokenLatencyMetric), ("icl", InterChunkLatencyMetric),
        ):
            with contextlib.suppress(NoMetricValue):
                value = metric()._parse_record(record, of_record)
                of_record[metric.tag] = value
                if name in samples:
                    samples[name] += value if isinstance(value, list) else [value]
        starts.append(record.timestamp_ns)
        ends.append(record.timestamp_ns + of_record[RequestLatencyMetric.tag])
        counts.append((tokens.input, of_record.get(OutputSequenceLengthMetric.tag)))
    figures = {}
    for metric, values in samples.items():
        if values:
            array = np.array(values, dtype=np.float64)
            found = metric_result_from_array(metric, metric, "ns", array, float(array.sum()))
            stats = {"mean": "avg", "std": "std", "min": "min", "max": "max"}
            stats |= {stat: stat for stat in PERCENTILES}
            figures[metric] = {stat: getattr(found, key) for stat, key in stats.items()}
    if not counts:
        return "aiperf", figures
    duration = (max(ends) - min(starts)) / NS
    inputs, outputs = (sum(count or 0 for count in column) for column in zip(*counts))
    return "aiperf", figures | of_run(
        duration=duration, completed=len(counts), failed=len(requests) - len(counts),
        input_tokens=inputs, output_tokens=outputs, request_throughput=len(counts) / duration,
        input_throughput=inputs / duration, output_throughput=outputs / duration,
        total_throughput=(inputs + outputs) / duration,
    )


def guidellm(requests, _):
    from guidellm.backends.openai import http
    from guidellm.backends.openai.request_handlers import ChatCompletionsRequestHandler
    from guidellm.benchmark.schemas.accumulator import GenerativeRequestsAccumulator
    from guidellm.benchmark.schemas.metrics import GenerativeMetrics
    from guidellm.schemas import GenerationRequest, GenerativeRequestStats, RequestInfo
    from guidellm.schemas.base.request import UsageMetrics

    clock = http.time = Clock()
    backend_class = next(
        value for value in vars(http).values()
        if isinstance(value, type) and hasattr(value, "_resolve_streaming")
    )

    class Backend:
        _aiter_lines = backend_class._aiter_lines
        _trace_request_start = staticmethod(backend_class._trace_request_start)
        _check_tool_call_expectations = staticmethod(lambda *_: None)

    completed, errored = [], []
    # Times must be above 0 for it: 0 stands for a time that it does not know.
    origin_ns = 10**12
    for request in requests:
        moved = moved_by(request, origin_ns)
        clock.now_ns = moved["dispatched_ns"]
        backend = Backend()
        backend._async_client = Session(moved, clock)
        info = RequestInfo()
        info.timings.resolve_start = clock.time()
        asked = GenerationRequest()
        arguments = types.SimpleNamespace(model_dump_json=lambda: "{}")

        async def resolve():
            answer = None
            stream = backend_class._resolve_streaming(
                backend, asked, info, ChatCompletionsRequestHandler(), arguments, {}
            )
            async for response, _ in stream:
                answer = response or answer
            return answer

        answer = None
        with contextlib.suppress(Exception):
            answer = asyncio.run(resolve())
        info.timings.resolve_end = clock.time()
        stats = GenerativeRequestStats(
            request_id=str(request["request_id"]), info=info,
            input_metrics=answer.input_metrics if answer else UsageMetrics(),
            output_metrics=answer.output_metrics if answer else UsageMetrics(),
        )
        (completed if answer else errored).append(stats)

    def kept(stats):
        # Its own choice of those in the window, over a list of ours.
        held = types.SimpleNamespace(requests_stats=stats)
        choose = GenerativeRequestsAccumulator.get_within_range
        return types.SimpleNamespace(
            get_within_range=lambda *args, **kwargs: choose(held, *args, **kwargs)
        )

    begin = (min(request["dispatched_ns"] for request in requests) + origin_ns) / NS
    end = max(stats.request_end_time for stats in completed + errored)
    accumulator = types.SimpleNamespace(
        timings=types.SimpleNamespace(finalized_measure_start=begin, finalized_measure_end=end),
        completed=kept(completed), incomplete=kept([]), errored=kept(errored),
        config=types.SimpleNamespace(
            confidence=None, slo=None,
            strategy=types.SimpleNamespace(defines_arrival_schedule=False),
        ),
    )
    found = GenerativeMetrics.compile(accumulator)

    def stats(distribution, factor):
        values = {"mean": distribution.mean, "std": distribution.std_dev}
        values |= {"min": distribution.min, "max": distribution.max}
        values |= {stat: getattr(distribution.percentiles, stat) for stat in PERCENTILES}
        return {stat: value * factor for stat, value in values.items()}

    figures = {
        "ttft": stats(found.time_to_first_token_ms.successful, 1e6),
        "itl": stats(found.inter_token_latency_ms.successful, 1e6),
        "tpot": stats(found.time_per_output_token_ms.successful, 1e6),
        "e2el": stats(found.request_latency.successful, NS),
    }
    return "guidellm", figures | of_run(
        duration=end - begin, completed=found.request_totals.successful,
        failed=found.request_totals.errored,
        input_tokens=found.prompt_token_count.successful.total_sum,
        output_tokens=found.output_token_count.successful.total_sum,
        request_throughput=found.requests_per_second.successful.mean,
        input_throughput=found.prompt_tokens_per_second.successful.mean,
        output_throughput=found.output_tokens_per_second.successful.mean,
        total_throughput=found.tokens_per_second.successful.mean,
    )


def moved_by(request, origin_ns):
    """Returns the request as it would be on an axis whose 0 is so much earlier."""
    points = ("dispatched_ns", "sent_ns", "end_ns")
    moved = {key: request[key] + origin_ns for key in points if request[key] is not None}
    events = [event | {"at_ns": event["at_ns"] + origin_ns} for event in request["events"]]
    return request | moved | {"events": events}


def inference_perf(requests, tokenizer):
    from inference_perf.apis import ErrorResponseInfo, InferenceInfo, RequestLifecycleMetric
    from inference_perf.apis import streaming_parser
    from inference_perf.apis.chat import ChatCompletionAPIData
    from inference_perf.config import APIConfig
    from inference_perf.payloads import RequestMetrics, Text
    from inference_perf.reportgen.base import summarize_requests

    clock = streaming_parser.time = Clock()
    config = APIConfig(streaming=True)
    lives = []
    for request in requests:
        info, error = None, None
        clock.now_ns = request["dispatched_ns"]
        asked = ChatCompletionAPIData(messages=[])
        if request["http_status"] == 200:
            try:
                reading = asked.process_response(Answer(request, clock), config, tokenizer)
                info = asyncio.run(reading)
            except Exception as failure:
                error = ErrorResponseInfo(error_type=type(failure).__name__, error_msg=str(failure))
        else:
            error = ErrorResponseInfo(error_type="HTTP Error", error_msg="replayed")
        nothing = RequestMetrics(text=Text(input_tokens=0))
        lives.append(RequestLifecycleMetric(
            scheduled_time=request["intended_ns"] / NS, start_time=request["dispatched_ns"] / NS,
            end_time=request["end_ns"] / NS, request_data="", error=error,
            info=info or InferenceInfo(request_metrics=nothing),
        ))
    found = summarize_requests(
        lives, [float(percent) for percent in PERCENTILES.values()],
        tokenizer=tokenizer if tokenizer.inner else None,
        use_server_output_tokens=tokenizer.inner is None,
    )
    done, figures = found.successes, {}
    names = {
        "ttft": "time_to_first_token", "itl": "inter_token_latency",
        "tpot": "time_per_output_token", "ntpot": "normalized_time_per_output_token",
        "e2el": "request_latency",
    }
    stats = {"mean": "mean", "min": "min", "max": "max", "p50": "median"}
    stats |= {stat: stat for stat in ("p90", "p95", "p99")}
    for metric, name in names.items():
        if values := done["latency"][name]:
            figures[metric] = {stat: values[key] * NS for stat, key in stats.items()}
    rates = done["throughput"]
    time = found.benchmark_time_seconds
    return "inference-perf", figures | of_run(
        duration=time, completed=done["count"], failed=found.failures["count"],
        input_tokens=done["prompt_tokens"]["total"],
        output_tokens=rates["output_tokens_per_sec"] * time,
        request_throughput=rates["requests_per_sec"],
        input_throughput=rates["input_tokens_per_sec"],
        output_throughput=rates["output_tokens_per_sec"],
        total_throughput=rates["total_tokens_per_sec"],
    )


def genai_bench(requests, tokenizer):
    from genai_bench.metrics.aggregated_metrics_collector import AggregatedMetricsCollector
    from genai_bench.metrics.metrics import RequestLevelMetrics
    from genai_bench.metrics.request_metrics_collector import RequestMetricsCollector
    from genai_bench.user import openai_user

    clock = openai_user.time = Clock(tick_ns=1)
    user = openai_user.OpenAIUser
    counting = types.SimpleNamespace(get_token_length=lambda text, **_: tokenizer.count_tokens(text))
    reader = types.SimpleNamespace(
        environment=types.SimpleNamespace(sampler=counting), _get_usage_info=user._get_usage_info,
        _get_reasoning_content_chunk=user._get_reasoning_content_chunk,
    )
    collector = AggregatedMetricsCollector()
    for request in requests:
        clock.now_ns = request["dispatched_ns"]
        metrics = RequestLevelMetrics(error_code=request["http_status"] or 503)
        if request["http_status"] == 200:
            try:
                answer = user.parse_chat_response(
                    reader, Answer(request, clock), request["dispatched_ns"] / NS,
                    request["input_tokens_planned"], 0,
                )
            except ConnectionError:
                answer = types.SimpleNamespace(status_code=500)
            except Exception:
                # It ends the task of its load generator, and no one counts the request.
                continue
            if answer.status_code == 200:
                one = RequestMetricsCollector()
                try:
                    one.calculate_metrics(answer)
                except AssertionError:
                    continue
                metrics = one.metrics
            else:
                metrics = RequestLevelMetrics(error_code=500)
        collector.add_single_request_metrics(metrics)
    figures = {}
    with contextlib.suppress(ValueError):
        collector.aggregate_metrics_data(0, seconds_of_run(requests), None, None)
    found = collector.aggregated_metrics
    stats = {"mean": "mean", "std": "stddev", "min": "min", "max": "max"}
    stats |= {stat: stat for stat in PERCENTILES}
    for metric, name in (("ttft", "ttft"), ("tpot", "tpot"), ("e2el", "e2e_latency")):
        field = getattr(found.stats, name)
        if field.mean is not None:
            figures[metric] = {stat: getattr(field, key) * NS for stat, key in stats.items()}
    return "genai-bench", figures | of_run(
        duration=found.run_duration, completed=found.num_completed_requests,
        failed=found.num_error_requests, input_tokens=found.stats.num_input_tokens.sum,
        output_tokens=found.stats.num_output_tokens.sum,
        request_throughput=found.requests_per_second,
        input_throughput=found.mean_input_throughput_tokens_per_s,
        output_throughput=found.mean_output_throughput_tokens_per_s,
        total_throughput=found.mean_total_tokens_throughput_tokens_per_s,
    )


def evalscope(requests, tokenizer):
    from evalscope.perf.plugin.api import default_api
    from evalscope.perf.plugin.api.openai_api import OpenaiPlugin
    from evalscope.perf.utils import db_util
    from evalscope.perf.utils.benchmark_util import MetricsAccumulator

    clock = default_api.time = Clock()
    plugin = object.__new__(OpenaiPlugin)
    plugin.tokenizer = tokenizer if tokenizer.inner else None
    # The prompt is not replayed: its tokens, where the server did not count them, are not compared.
    plugin._count_input_tokens = lambda _: 0
    total = MetricsAccumulator()
    # Times must be above 0 for it: 0 stands for a time that it does not know.
    origin_ns = 10**12
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "replayed.db"
        with sqlite3.connect(path) as base:
            cursor = base.cursor()
            db_util.create_result_table(cursor)
            for request in requests:
                moved = moved_by(request, origin_ns)
                clock.now_ns = moved["dispatched_ns"]
                reading = plugin.process_request(Session(moved, clock), "", {}, {"stream": True})
                data = asyncio.run(reading)
                if not data.success and data.completed_time < data.start_time:
                    data.completed_time = moved["end_ns"] / NS
                total.update(data, plugin)
                db_util.insert_benchmark_data(cursor, data)
            base.commit()
        rows = db_util.get_percentile_results(str(path)).to_list()
    found = total.to_result()
    labels = {"min": "min", "p50": "50%", "p90": "90%", "p95": "95%", "p99": "99%", "max": "max"}
    by_label = {row["Percentiles"]: row for row in rows}
    figures = {}
    for metric, column, mean, factor in (
        ("ttft", "TTFT (ms)", found.avg_first_chunk_latency, 1e6),
        ("itl", "ITL (ms)", found.avg_inter_token_latency, 1e6),
        ("tpot", "TPOT (ms)", found.avg_time_per_output_token, 1e6),
        ("e2el", "Latency (s)", found.avg_latency, NS),
    ):
        figures[metric] = {"mean": mean * NS}
        for stat, label in labels.items():
            value = by_label[label][column]
            if value is not None and value == value:
                figures[metric][stat] = value * factor
    return "evalscope", figures | of_run(
        duration=found.total_time, completed=found.succeed_requests, failed=found.failed_requests,
        input_tokens=total.total_prompt_tokens, output_tokens=total.total_completion_tokens,
        request_throughput=found.qps, output_throughput=found.avg_output_token_throughput,
        total_throughput=found.avg_total_token_throughput,
    )


def of_run(**values):
    return {metric: {"run": value} for metric, value in values.items()}


CLIENTS = {
    "vllm": vllm, "sglang": sglang, "aiperf": aiperf, "guidellm": guidellm,
    "inference-perf": inference_perf, "genai-bench": genai_bench, "evalscope": evalscope,
}


def version(package):
    if package == "sglang":
        folder = pathlib.Path(os.environ["SGLANG_WHEEL"])
        return next(folder.glob("sglang-*.dist-info")).name.split("-")[1].removesuffix(".dist")
    return importlib.metadata.version(package)


def main():
    asked = json.load(sys.stdin)
    # Clients print; what they print is no answer.
    with contextlib.redirect_stdout(sys.stderr):
        package, figures = CLIENTS[sys.argv[1]](asked["requests"], Tokenizer(asked["tokenizer"]))
    json.dump({"version": version(package), "figures": figures}, sys.stdout)


if __name__ == "__main__":
    main()
