"""`simulate`: whatever is asked, it gives a reason, stays within bounds, and goes on serving."""

import contextlib
import json
import socket
import time

from cases import MIB, Running, Trial, case, each, expect
from servers import ask

AREA = "simulate"

# Most memory that it may take whatever is asked, in bytes.
SERVER_BYTES = 512 * MIB


def served(trial: Trial, *words: str) -> tuple[Running, int]:
    """A simulated server and its port."""
    running = trial.start("simulate", "--port", "0", *words, most_bytes=SERVER_BYTES)
    line = running.wait_for("http://127.0.0.1:")
    return running, int(line.rsplit(":", 1)[1].split()[0].strip("/"))


def post(body: bytes, path: str = "/v1/chat/completions") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    more = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + more.encode() + body


def chat(**changed) -> bytes:
    body = {
        "model": "simulated",
        "messages": [{"role": "user", "content": "a"}],
        "max_tokens": 2,
        "stream": True,
    }
    return post(json.dumps(body | changed).encode())


def expect_serving(running: Running, port: int) -> None:
    status, answer = ask(port, chat(), 10.0)
    expect(running.is_running(), f"has ended: {running.ended and running.ended.seen()}")
    expect(status == 200 and "[DONE]" in answer, f"afterwards: status {status}")


def asked(trial: Trial, request: bytes, statuses: tuple[int, ...]) -> str:
    """Sends one request, and then a usual one."""
    running, port = served(trial)
    status, answer = ask(port, request() if callable(request) else request, 15.0)
    expect(status in statuses, f"status {status}: {answer[-200:]}")
    expect_serving(running, port)
    return f"status {status}, {running.peak_bytes // MIB} MiB"


WRONG = "refused with a reason, and the next request is answered"
FINE = "answered, and so is the next request"
ENDPOINT = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n"
REQUESTS = {
    "no-body": (WRONG, post(b""), (400, 422)),
    "bad-json": (WRONG, post(b'{"model":'), (400, 422)),
    "no-object": (WRONG, post(b"[1]"), (400, 422)),
    "no-messages": (WRONG, post(b'{"model":"simulated"}'), (400, 422)),
    "no-utf-8": (WRONG, post(b'{"model":"\xff"}'), (400, 422)),
    "depth-200000": (WRONG, post(b'{"a":' * 200_000 + b"1" + b"}" * 200_000), (400, 422)),
    "depth-of-lists": (WRONG, post(b'{"messages":' + b"[" * 200_000), (400, 422)),
    "model-unknown": (WRONG, chat(model="x" * 100_000), (404, 400, 200)),
    "max-tokens-0": (WRONG, chat(max_tokens=0), (400,)),
    "max-tokens-negative": (WRONG, chat(max_tokens=-1), (400,)),
    "max-tokens-2^64": (WRONG, chat(max_tokens=2**64), (400,)),
    "max-tokens-1e400": (
        WRONG,
        post(chat().split(b"\r\n\r\n", 1)[1].replace(b'"max_tokens": 2', b'"max_tokens": 1e400')),
        (400,),
    ),
    "max-tokens-fraction": (WRONG, chat(max_tokens=1.5), (400,)),
    "max-tokens-text": (WRONG, chat(max_tokens="2"), (400,)),
    "max-tokens-list": (WRONG, chat(max_tokens=[2]), (400,)),
    "n-1e8": (WRONG, chat(n=100_000_000), (400,)),
    "length-4-GB": (
        WRONG,
        ENDPOINT + b"Content-Length: 4294967296\r\nConnection: close\r\n\r\nx",
        (413,),
    ),
    "length-negative": (
        WRONG,
        ENDPOINT + b"Content-Length: -1\r\nConnection: close\r\n\r\n",
        (400,),
    ),
    "length-twice": (
        WRONG,
        ENDPOINT + b"Content-Length: 1\r\nContent-Length: 2\r\nConnection: close\r\n\r\nxx",
        (400,),
    ),
    "chunked-without-end": (
        WRONG,
        lambda: (
            ENDPOINT
            + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            + (b"100000\r\n" + b"x" * MIB + b"\r\n") * 40
        ),
        (413, 0),
    ),
    "headers-36000": (WRONG, ENDPOINT + b"x: y\r\n" * 36_000 + b"\r\n", (400, 431, 0)),
    "path-of-1-MB": (
        WRONG,
        b"GET /" + b"x" * MIB + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        (400, 404, 414, 431, 0),
    ),
    "path-odd": (
        WRONG,
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        (404,),
    ),
    "method-odd": (
        WRONG,
        b"DELETE /v1/chat/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        (405,),
    ),
    "no-http": (WRONG, b"\x16\x03\x01\x02\x00\r\n\r\n", (400, 0)),
    "content-of-odd-types": (
        WRONG,
        chat(messages=[{"role": "user", "content": {"a": [1]}}]),
        (200, 400, 422),
    ),
    "messages-100000": (
        FINE,
        chat(messages=[{"role": "user", "content": "a"}] * 100_000),
        (200, 400),
    ),
    "content-with-escapes": (
        FINE,
        chat(messages=[{"role": "\x1b[2J", "content": "\x00\u202e"}]),
        (200, 400),
    ),
}
each(AREA, {f"asked-{name}": rest for name, rest in REQUESTS.items()}, asked)


@case(AREA)
def loopback_alone(trial: Trial) -> str:
    """It listens on 127.0.0.1 alone unless it is told otherwise."""
    _, port = served(trial)
    with contextlib.closing(socket.socket()) as own:
        expect(own.connect_ex(("127.0.0.2", port)) != 0, "listens on more than 127.0.0.1")
    return "127.0.0.1 alone"


def crowded(trial: Trial, count: int, text: bytes) -> str:
    """Many connections that never end what they say."""
    running, port = served(trial)
    with contextlib.ExitStack() as open_ones:
        for _ in range(count):
            own = open_ones.enter_context(socket.create_connection(("127.0.0.1", port)))
            own.sendall(text)
        # Streams that are wanted take their part of the server, as they are meant to.
        if b"max_tokens" not in text:
            expect_serving(running, port)
    expect_serving(running, port)
    return f"serves beside or after {count} others, {running.peak_bytes // MIB} MiB"


HELD = "connections that never end what they say hold nobody up"
CROWDS = {
    "half-heads": (HELD, 300, ENDPOINT + b"x"),
    "half-bodies": (HELD, 300, ENDPOINT + b"Content-Length: 1000\r\n\r\n{"),
    "idle-connections": (HELD, 300, b""),
    "abandoned-streams": (HELD, 200, chat(max_tokens=100_000)),
}
each(AREA, CROWDS, crowded)


def closes(trial: Trial, text: bytes) -> str:
    """Waits until a connection that says half of a request is closed."""
    _, port = served(trial)
    began = time.monotonic()
    status, _ = ask(port, text, 60.0)
    took = time.monotonic() - began
    expect(took < 59.0, "still open after 60 s")
    return f"closed after {took:.0f} s, status {status}"


SLOW = {
    "half-head-is-closed": (
        "half of a head is not waited for longer than a minute",
        ENDPOINT + b"x",
    ),
    "half-body-is-closed": (
        "half of a body is not waited for longer than a minute",
        ENDPOINT + b"Content-Length: 9\r\n\r\n{",
    ),
}
each(AREA, SLOW, closes, slow=True, seconds=90)
