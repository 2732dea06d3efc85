"""A server that means harm or is broken: each answer has its row, in bounds of time and memory."""

import asyncio
import gzip
import json
import re
from collections.abc import Callable

from cases import MIB, Trial, case, each, expect, raw_controls
from servers import (
    CHUNKED_HEAD,
    CLOSE_HEAD,
    DONE,
    STOP,
    WHOLE,
    Exchange,
    Scripted,
    chunk,
    client_of,
    delta,
    event,
    with_length,
)

AREA = "hostile-server"

# Most memory that a client may take whatever it is sent, in bytes.
CLIENT_BYTES = 400 * MIB

ROWS = """
SELECT status, error_kind, error_message, output_tokens, resends
FROM requests ORDER BY request_id
"""


def met(
    trial: Trial, server: Scripted, prompts: int = 3, input_len: int = 1, seconds: float = 30.0
) -> list[dict]:
    """The rows of a load of a few requests, one after another, against a server."""
    words = [*client_of(server.url), "--self-check", "0s"]
    words += [
        "--max-concurrency",
        "1",
        "--num-prompts",
        str(prompts),
        "--random-input-len",
        str(input_len),
    ]
    words += ["--random-output-len", "3", "--request-timeout", "2s", "--idle-timeout", "1s"]
    words += ["--keep", "text", "--no-summary", "--out", "run.tape"]
    ended = trial.run("load", *words, seconds=seconds, most_bytes=CLIENT_BYTES)
    ended.expect_code(0, 3)
    controls = raw_controls(ended.out + ended.err)
    expect(not controls, f"raw control characters on the terminal: {controls[:5]!r}")
    return trial.rows("run.tape", ROWS)


def answers(trial: Trial, write, wanted: str) -> str:
    """Holds the rows of three requests that are answered alike against what they must be.

    `wanted` has the outcomes that will do, with `|` between: `ok` or an `error_kind`, each with
    tokens behind a `/` where their number is certain.
    """
    data = None if isinstance(write, Callable) else write

    async def handler(exchange: Exchange) -> None:
        if data is None:
            await write(exchange)
            return
        await exchange.send(data)
        if b"chunked" not in data and b"content-length" not in data.lower():
            exchange.close()

    rows = met(trial, Scripted(trial, handler))
    seen = [f"{row['error_kind'] or row['status']}/{row['output_tokens'] or 0}" for row in rows]
    allowed = wanted.split("|")
    fits = all(one in allowed or one.split("/")[0] in allowed for one in seen)
    message = rows[0]["error_message"] or ""
    expect(fits and len(rows) == 3, f"{', '.join(seen)}; wanted {wanted}: {message}")
    expect(len(message) < 2_000, f"a message of {len(message)} letters")
    return f"{', '.join(seen)} {message}"


def chunked(*parts: bytes) -> bytes:
    """A whole response of these chunks."""
    return CHUNKED_HEAD + b"".join(chunk(part) for part in parts) + b"0\r\n\r\n"


def usage(text: str) -> bytes:
    """A whole answer whose usage is this text, which need not be JSON."""
    last = f'{{"choices":[],"usage":{{"prompt_tokens":1,"completion_tokens":{text}}}}}'
    return chunked(delta("one "), delta("two "), delta("three"), STOP, event(last), DONE)


def headed(*lines: str) -> bytes:
    """An answer under a head of these lines, until the connection is closed."""
    return ("\r\n".join(["HTTP/1.1 200 OK", *lines, "\r\n"])).encode()


def repeated(first: bytes, more: bytes, pause: float = 0.0):
    """Begins with some bytes, and repeats others until the client leaves."""

    async def write(exchange: Exchange) -> None:
        await exchange.send(first)
        await exchange.for_ever(more, pause)

    return write


def then(data: bytes, how: str):
    """Writes, and then closes, resets, or waits until the client leaves."""

    async def write(exchange: Exchange) -> None:
        await exchange.send(data)
        if how == "close":
            exchange.close()
        elif how == "reset":
            # What was sent has to arrive before the reset destroys it.
            await asyncio.sleep(0.1)
            exchange.reset()
        else:
            await exchange.until_it_leaves()
            exchange.close()

    return write


EVENT_STREAM = "content-type: text/event-stream"
LONG = b"x" * 65_536
DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000
NUMBERS = {"2^63": 2**63, "minus one": -1, "minus 2^63 less one": -(2**63) - 1}

BOUNDS = {
    "headers-without-end": (
        "given up at a bound",
        repeated(b"HTTP/1.1 200 OK\r\n", b"x-more: and more\r\n" * 500),
        "too_large",
    ),
    "header-without-end": (
        "given up at a bound",
        repeated(b"HTTP/1.1 200 OK\r\nx: ", LONG),
        "too_large",
    ),
    "header-of-100-kB": (
        "given up at a bound",
        headed(f"x: {'x' * 100_000}", EVENT_STREAM) + WHOLE,
        "too_large|ok",
    ),
    "status-line-without-end": (
        "given up at a bound",
        repeated(b"HTTP/1.1 200 ", LONG),
        "too_large|unsupported",
    ),
    "event-without-end": (
        "given up at a bound",
        repeated(CLOSE_HEAD + b"data: ", LONG),
        "too_large",
    ),
    "line-without-end": ("given up at a bound", repeated(CLOSE_HEAD, LONG), "too_large"),
    "event-of-3-MiB": (
        "an event below the bound is read",
        chunked(delta("x" * (3 << 20)), STOP, DONE),
        "ok",
    ),
    "event-of-64-MiB": (
        "given up at a bound",
        repeated(CHUNKED_HEAD + b"4000000\r\ndata: ", LONG),
        "too_large",
    ),
    "comments-without-end": (
        "ended by the limit of time",
        repeated(CLOSE_HEAD, b": ping\n\n" * 1_000),
        "timeout_total",
    ),
    "comment-of-any-length": (
        "a comment of 8 MiB is skipped or given up",
        chunked(b":" + b"x" * (8 << 20), WHOLE),
        "ok|too_large",
    ),
    "empty-events-without-end": (
        "ended by the limit of time",
        repeated(CLOSE_HEAD, b"data: {}\n\n" * 2_000),
        "timeout_total",
    ),
    "drip-of-the-head": (
        "ended by the limit of time",
        repeated(b"HTTP/1.1 200 OK\r\nx: ", b"x", 0.02),
        "timeout_total|timeout_first",
    ),
    "drip-of-the-body": (
        "ended by the limit of time",
        repeated(CLOSE_HEAD + b": ", b"x", 0.02),
        "timeout_total",
    ),
    "chunk-size-without-end": (
        "given up at a bound",
        repeated(CHUNKED_HEAD, b"0" * 65_536),
        "too_large|truncated",
    ),
    "chunk-extension-without-end": (
        "given up at a bound",
        repeated(CHUNKED_HEAD + b"5;x=", LONG),
        "too_large",
    ),
    "trailer-without-end": (
        "given up at a bound",
        repeated(CHUNKED_HEAD + chunk(WHOLE) + b"0\r\n", b"x: y\r\n" * 500),
        "too_large|ok",
    ),
    "trailer-line-without-end": (
        "given up at a bound",
        repeated(CHUNKED_HEAD + chunk(WHOLE) + b"0\r\nx: ", LONG),
        "too_large|ok",
    ),
    "interim-without-end": (
        "given up at a bound",
        repeated(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 500),
        "too_large|unsupported|timeout_total",
    ),
    "error-of-gigabytes": (
        "an error's body is bounded",
        repeated(b"HTTP/1.1 503 No\r\n\r\n", LONG),
        "http_5xx",
    ),
    "gzip-bomb": (
        "what was not asked for is not unpacked",
        with_length("200 OK", gzip.compress(bytes(50 << 20)), "content-encoding: gzip\r\n"),
        "unsupported",
    ),
}

WORDS = {
    "json-100000-deep": ("skipped, or a bad event", chunked(event(DEEP), WHOLE), "ok|bad_event"),
    "error-100000-deep": (
        "an error like any other",
        with_length("500 No", DEEP.encode()),
        "http_5xx",
    ),
    **{
        f"usage-of-{name.replace(' ', '-')}": (
            "a count that can't be is left out",
            usage(str(value)),
            "ok/3",
        )
        for name, value in NUMBERS.items()
    },
    "usage-of-1e400": (
        "valid JSON that is no count does not fail the answer",
        usage("1e400"),
        "ok/3",
    ),
    "usage-of-minus-1e400": (
        "valid JSON that is no count does not fail the answer",
        usage("-1e400"),
        "ok/3",
    ),
    "usage-of-1.5": ("valid JSON that is no count does not fail the answer", usage("1.5"), "ok/3"),
    "usage-of-text": ("valid JSON that is no count does not fail the answer", usage('"3"'), "ok/3"),
    "usage-of-400-digits": (
        "valid JSON that is no count does not fail the answer",
        usage("9" * 400),
        "ok/3",
    ),
    "usage-of-nan": ("no JSON is a bad event", usage("NaN"), "bad_event"),
    "usage-of-infinity": ("no JSON is a bad event", usage("Infinity"), "bad_event"),
    "usage-twice": ("of two equal keys one is taken", usage('7,"completion_tokens":3'), "ok"),
    "error-behind-done": (
        "what is behind the end mark does not count",
        chunked(WHOLE + event({"error": {"message": "late"}})),
        "ok/3",
    ),
    "token-behind-done": (
        "what is behind the end mark does not count",
        chunked(WHOLE + delta("late")),
        "ok/3",
    ),
    "error-behind-done-later": (
        "what is behind the end mark does not count",
        chunked(WHOLE, event({"error": {"message": "late"}})),
        "ok/3",
    ),
    "invalid-utf-8": (
        "a bad event",
        chunked(b'data: {"choices":[{"delta":{"content":"\xff\xfe"}}]}\n\n', WHOLE),
        "bad_event",
    ),
    "lone-surrogate": (
        "a bad event",
        chunked(event('{"choices":[{"index":0,"delta":{"content":"\\ud800"}}]}'), WHOLE),
        "bad_event|ok",
    ),
    "nul-in-an-event": ("a bad event", chunked(b'data: {"a":"\x00"}\n\n', WHOLE), "bad_event"),
    "nul-in-a-header": ("refused", headed("x: \x00", EVENT_STREAM) + WHOLE, "unsupported"),
    "index-2^64-1": (
        "a choice of any index is read or skipped",
        chunked(
            event('{"choices":[{"index":18446744073709551615,"delta":{"content":"a"}}]}'), WHOLE
        ),
        "ok",
    ),
    "index-minus-4": (
        "a choice of any index is read or skipped",
        chunked(event('{"choices":[{"index":-4,"delta":{"content":"a"}}]}'), WHOLE),
        "ok",
    ),
    "choices-50000": (
        "many choices are read",
        chunked(
            event({"choices": [{"index": n, "delta": {"content": "a"}} for n in range(50_000)]}),
            WHOLE,
        ),
        "ok|too_large",
    ),
    "whole-object": (
        "an answer that is no stream is refused",
        with_length(
            "200 OK",
            json.dumps({"choices": [{"message": {"content": "a"}}]}).encode(),
            "content-type: application/json\r\n",
        ),
        "unsupported",
    ),
    "no-end-mark": ("a finish reason ends an answer as well", chunked(delta("a"), STOP), "ok/1"),
    "no-finish": (
        "neither end mark nor finish reason is a cut answer",
        chunked(delta("a")),
        "truncated",
    ),
    "done-first": ("an end mark before any token is an empty answer", chunked(DONE), "ok|empty"),
    "five-answers": ("what follows the end mark is not read", chunked(WHOLE * 5), "ok/3"),
    "events-of-a-byte": (
        "an answer may come in chunks of a byte",
        CHUNKED_HEAD
        + b"".join(chunk(WHOLE[at : at + 1]) for at in range(len(WHOLE)))
        + b"0\r\n\r\n",
        "ok/3",
    ),
}

HTTP = {
    **{
        f"chunk-size-{name}": (
            "no size of a chunk",
            CHUNKED_HEAD + size + b"\r\n" + WHOLE + b"\r\n0\r\n\r\n",
            "truncated|unsupported|too_large",
        )
        for name, size in {
            "letters": b"zz",
            "prefixed": b"0x10",
            "negative": b"-1",
            "plus": b"+10",
            "over-2^64": b"10000000000000005",
            "empty": b"",
            "spaced": b"1 0",
        }.items()
    },
    "chunk-without-line-end": (
        "a chunk that does not end is cut",
        CHUNKED_HEAD + b"%x\r\n" % len(delta("a")) + delta("a") + b"5\r\n",
        "truncated",
    ),
    "chunk-extensions": (
        "extensions are skipped",
        CHUNKED_HEAD + b"%x;a=b;c\r\n%s\r\n0\r\n\r\n" % (len(WHOLE), WHOLE),
        "ok/3",
    ),
    "chunk-missing": (
        "a chunk that never comes is a stall",
        then(CHUNKED_HEAD + chunk(delta("a")), "wait"),
        "timeout_idle",
    ),
    "length-and-chunked": (
        "chunks decide",
        CHUNKED_HEAD[:-2] + b"content-length: 5\r\n\r\n" + chunk(WHOLE) + b"0\r\n\r\n",
        "ok|unsupported",
    ),
    "chunked-twice": (
        "refused",
        headed(EVENT_STREAM, "transfer-encoding: chunked, chunked") + chunk(WHOLE),
        "unsupported",
    ),
    "transfer-gzip": (
        "refused",
        headed(EVENT_STREAM, "transfer-encoding: gzip") + WHOLE,
        "unsupported",
    ),
    "length-too-short": (
        "an answer beyond its length is cut",
        headed(EVENT_STREAM, "content-length: 70") + WHOLE,
        "truncated",
    ),
    "length-too-long-closed": (
        "ended before its length, but behind its end mark",
        then(headed(EVENT_STREAM, "content-length: 9999") + WHOLE, "close"),
        "ok|truncated",
    ),
    "length-too-long-open": (
        "the rest never comes; the answer is whole",
        then(headed(EVENT_STREAM, "content-length: 9999") + WHOLE, "wait"),
        "ok|timeout_idle",
    ),
    "length-negative": (
        "refused",
        headed(EVENT_STREAM, "content-length: -1") + WHOLE,
        "unsupported",
    ),
    "length-huge": (
        "refused",
        headed(EVENT_STREAM, f"content-length: {2**80}") + WHOLE,
        "unsupported",
    ),
    "lengths-differ": (
        "refused",
        headed(EVENT_STREAM, "content-length: 5", "content-length: 6") + WHOLE,
        "unsupported",
    ),
    "length-of-a-list": (
        "refused, or read as the one length",
        headed(EVENT_STREAM, f"content-length: {len(WHOLE)}, {len(WHOLE)}") + WHOLE,
        "unsupported|ok",
    ),
    "length-0": (
        "an answer without a byte is cut",
        headed(EVENT_STREAM, "content-length: 0"),
        "truncated|empty",
    ),
    "folded-header": (
        "refused, or skipped",
        headed(EVENT_STREAM, "x: a\r\n b") + WHOLE,
        "unsupported|ok",
    ),
    "space-before-colon": (
        "refused, or not taken for a length",
        headed(EVENT_STREAM, "content-length : 5") + WHOLE,
        "unsupported|ok",
    ),
    "interim-first": (
        "interim heads are skipped",
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + chunked(WHOLE),
        "ok/3",
    ),
    "http-0.9": ("refused", then(b"data: {}\n\n", "close"), "unsupported|send"),
    "http-2-preface": (
        "refused",
        then(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18), "close"),
        "send|unsupported",
    ),
    "tls-alert": ("refused", then(b"\x15\x03\x01\x00\x02\x02\x50", "close"), "send|unsupported"),
    "http-1.0": (
        "read to the end of the connection",
        then(b"HTTP/1.0 200 OK\r\n" + EVENT_STREAM.encode() + b"\r\n\r\n" + WHOLE, "close"),
        "ok/3",
    ),
    **{
        f"status-{status.split()[0]}": (
            f"a row of kind {kind}",
            with_length(status, b"{}", head),
            kind,
        )
        for status, head, kind in [
            ("101 Switching", "upgrade: x\r\n", "unsupported"),
            ("201 Created", "", "ok|unsupported|truncated|empty"),
            ("304 Not Modified", "", "unsupported"),
            ("401 No", "", "http_4xx"),
            ("429 Slow", "retry-after: 3600\r\n", "http_429"),
            ("503 No", "retry-after: Fri, 31 Dec 9999 23:59:59 GMT\r\n", "http_5xx"),
            ("000 Zero", "", "unsupported"),
            ("999 Nines", "", "unsupported"),
        ]
    },
    "error-without-end": (
        "an error whose body never ends is the error",
        then(b"HTTP/1.1 500 No\r\ncontent-length: 100\r\n\r\noops", "wait"),
        "http_5xx",
    ),
    "error-without-end-429": (
        "an error whose body never ends is the error",
        then(b"HTTP/1.1 429 No\r\ncontent-length: 100\r\n\r\noops", "wait"),
        "http_429",
    ),
    "error-without-end-chunked": (
        "an error whose body never ends is the error",
        then(b"HTTP/1.1 404 No\r\ntransfer-encoding: chunked\r\n\r\n5\r\noops!\r\n", "wait"),
        "http_4xx",
    ),
    "error-cut": (
        "an error whose body is cut is the error",
        then(b"HTTP/1.1 502 No\r\ncontent-length: 100\r\n\r\noops", "close"),
        "http_5xx",
    ),
    "error-reset": (
        "an error whose body is reset is the error",
        then(b"HTTP/1.1 502 No\r\ncontent-length: 100\r\n\r\noops", "reset"),
        "http_5xx",
    ),
    "end-in-mid-stream": (
        "cut, with the tokens that came",
        then(CHUNKED_HEAD + chunk(delta("a")), "close"),
        "truncated/1",
    ),
    "reset-in-mid-stream": (
        "cut, with the tokens that came",
        then(CHUNKED_HEAD + chunk(delta("a")), "reset"),
        "truncated/1",
    ),
    "end-at-once": ("no answer", then(b"", "close"), "send"),
    "reset-at-once": ("no answer", then(b"", "reset"), "send"),
    "silent": ("no answer in time", then(b"", "wait"), "timeout_total|timeout_first|timeout_idle"),
    "open-after-done": (
        "an answer ends with its end mark",
        then(CHUNKED_HEAD + chunk(WHOLE), "wait"),
        "ok/3",
    ),
}

for table in (BOUNDS, WORDS, HTTP):
    each(AREA, table, answers)


@case(AREA)
def redirects(trial: Trial) -> str:
    """No redirect is followed: nothing is sent to where it points, whatever its code."""
    target = Scripted(trial, lambda exchange: exchange.send(chunked(WHOLE)))
    codes = ["301 Moved", "302 Found", "307 Temporary Redirect"]

    async def handler(exchange: Exchange) -> None:
        await exchange.send(
            with_length(codes[exchange.index % 3], b"", f"location: {target.url}/\r\n")
        )

    rows = met(trial, Scripted(trial, handler))
    expect(not target.heads, f"{len(target.heads)} requests were sent to the target")
    kinds = {row["error_kind"] for row in rows}
    expect(kinds == {"unsupported"}, f"{kinds}")
    return "unsupported, nothing sent to the target"


def closed_behind_the_answer(trial: Trial, pause: float, how: str) -> str:
    """The server ends a kept connection after each answer, without having said so."""

    async def handler(exchange: Exchange) -> None:
        await exchange.send(chunked(WHOLE))
        await asyncio.sleep(pause)
        exchange.reset() if how == "reset" else exchange.close()

    rows = met(trial, Scripted(trial, handler), prompts=100)
    ok = sum(row["status"] == "ok" for row in rows)
    expect(
        ok == 100,
        f"{ok} of 100 ok: {[row['error_message'] for row in rows if row['error_message']][:1]}",
    )
    return f"100 ok, {sum(row['resends'] for row in rows)} sent again"


each(
    AREA,
    {
        f"kept-connection-{how}-{name}": (
            "no request is lost where a used connection ends",
            pause,
            how,
        )
        for how in ("close", "reset")
        for name, pause in (("at-once", 0.0005), ("later", 0.02))
    },
    closed_behind_the_answer,
    seconds=40,
)


@case(AREA)
def answered_before_the_request(trial: Trial) -> str:
    """An answer that comes before the request is read whole is that answer: 413, `http_4xx`."""

    async def handler(exchange: Exchange) -> None:
        await exchange.reader.readuntil(b"\r\n\r\n")
        await exchange.send(with_length("413 Too Large", b"{}", "connection: close\r\n"))
        await asyncio.sleep(0.3)
        exchange.close()

    server = Scripted(trial, handler, reads_requests=False)
    rows = met(trial, server, input_len=100_000)
    kinds = [row["error_kind"] for row in rows]
    expect(set(kinds) <= {"http_4xx", "send"} and "http_4xx" in kinds, f"{kinds}")
    return f"{kinds}"


@case(AREA)
def request_never_read(trial: Trial) -> str:
    """A server that never reads a large request is ended by the limit of time."""

    async def handler(exchange: Exchange) -> None:
        await asyncio.sleep(30)

    server = Scripted(trial, handler, reads_requests=False)
    rows = met(trial, server, prompts=1, input_len=300_000)
    expect(rows[0]["error_kind"].startswith("timeout"), f"{rows[0]}")
    return rows[0]["error_kind"]


ESCAPES = "\x1b[2J\x1b]0;title\x07 \u202egnp.exe\u2066 \x9b31m \r\n <script>alert(1)</script>"


@case(AREA)
def escapes_in_an_error(trial: Trial) -> str:
    """A server's words reach tape and terminal without control or bidirectional characters, and
    the reports as text."""

    async def handler(exchange: Exchange) -> None:
        await exchange.send(
            with_length("500 No", json.dumps({"error": {"message": ESCAPES}}).encode())
        )

    rows = met(trial, Scripted(trial, handler))
    found = raw_controls(rows[0]["error_message"])
    expect(not found, f"in `error_message`: {found!r}")
    ended = trial.run("analyze", "run.tape", "--html", "r.html", "--markdown", "r.md")
    expect(not raw_controls(ended.out + ended.err), "control characters on the terminal")
    for name in ("r.html", "r.md"):
        # What Markdown has in a code span is text.
        text = re.sub("`[^`]*`", "", (trial.folder / name).read_text())
        expect(not raw_controls(text) and "<script>alert" not in text, f"raw in {name}")
    return rows[0]["error_message"]


@case(AREA)
def escapes_in_a_stream(trial: Trial) -> str:
    """What a server says of itself in a stream is text in every output: ids, models, reasons."""
    odd = {
        "id": ESCAPES,
        "model": ESCAPES,
        "choices": [{"index": 0, "delta": {"content": ESCAPES}, "finish_reason": ESCAPES}],
    }
    server = Scripted(trial, lambda exchange: exchange.send(chunked(event(odd), DONE)))
    met(trial, server)
    outputs = ["--html", "r.html", "--markdown", "r.md", "--json", "r.json"]
    ended = trial.run("analyze", "run.tape", *outputs).expect_code(0, 3)
    expect(not raw_controls(ended.out + ended.err), "control characters on the terminal")
    table = trial.run(
        "sql", "run.tape", "-c", "SELECT output, response_id, finish_reason, model FROM requests"
    )
    found = raw_controls(table.out)
    expect(not found, f"`sql` prints {sorted(set(found))!r} raw in its table")
    text = (trial.folder / "r.html").read_text()
    expect("<script>alert" not in text and not re.search("\x1b|\u202e", text), "raw in r.html")
    return "no control character in any output"


@case(AREA, slow=True, seconds=240)
def million_tokens(trial: Trial) -> str:
    """Answers of a million tokens are read in bounded memory, and so is their summary."""
    piece = chunk(delta("word ") * 1_000)

    async def handler(exchange: Exchange) -> None:
        await exchange.send(CHUNKED_HEAD)
        for _ in range(1_000):
            await exchange.send(piece)
        await exchange.send(chunk(STOP + DONE) + b"0\r\n\r\n")

    words = client_of(Scripted(trial, handler).url)
    words += [
        "--max-concurrency",
        "1",
        "--num-prompts",
        "3",
        "--random-input-len",
        "1",
        "--self-check",
        "0s",
    ]
    ended = trial.run("load", *words, "--out", "run.tape", seconds=200, most_bytes=2_048 * MIB)
    return ended.expect_code(0).seen()
