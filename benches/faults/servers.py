"""Servers on loopback, one that follows a script and one that stamps, and a raw HTTP caller."""

import asyncio
import contextlib
import json
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from cases import Trial

CHUNKED_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
CLOSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"

Handler = Callable[["Exchange"], Awaitable[None]]


def delta(text: str, **more) -> bytes:
    """An event with a piece of an answer."""
    return event({"choices": [{"index": 0, "delta": {"content": text}}]} | more)


def event(value) -> bytes:
    """An event with any JSON, or with text that is to be taken as it is."""
    return f"data: {value if isinstance(value, str) else json.dumps(value)}\n\n".encode()


STOP = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
DONE = b"data: [DONE]\n\n"
WHOLE = delta("one ") + delta("two ") + delta("three") + STOP + DONE


def chunk(body: bytes) -> bytes:
    """Bytes as a chunk of a body."""
    return b"%x\r\n%s\r\n" % (len(body), body)


def with_length(status: str, body: bytes, head: str = "") -> bytes:
    """A whole response whose length is given."""
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{head}\r\n".encode() + body


@dataclass
class Exchange:
    """One request and the connection that it came on."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: str
    body: bytes
    # How many requests the server had before this one.
    index: int

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def for_ever(self, data: bytes, pause: float = 0.0) -> None:
        """Writes until the client leaves, which ends the exchange."""
        while True:
            await self.send(data)
            await asyncio.sleep(pause)

    async def until_it_leaves(self) -> None:
        while await self.reader.read(65_536):
            pass

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Ends the connection with a reset, which destroys what has not been read."""
        own = self.writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Scripted:
    """A server whose handler decides what is written, byte by byte."""

    def __init__(self, trial: Trial, handler: Handler, *, reads_requests: bool = True):
        self.handler, self.reads_requests = handler, reads_requests
        self.heads: list[str] = []
        self.loop = asyncio.new_event_loop()
        self.tasks: set[asyncio.Task] = set()
        ready = threading.Event()
        self.thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self.thread.start()
        ready.wait()
        trial.closing.callback(self._stop)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _serve(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(
            asyncio.start_server(self._connection, "127.0.0.1", 0)
        )
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self.loop.run_forever()
        server.close()
        for task in self.tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*self.tasks, return_exceptions=True))

    def _stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5.0)

    async def _connection(self, reader, writer) -> None:
        self.tasks.add(asyncio.current_task())
        try:
            while True:
                head, body = "", b""
                if self.reads_requests:
                    head, body = await read_request(reader)
                self.heads.append(head)
                await self.handler(Exchange(reader, writer, head, body, len(self.heads) - 1))
                if writer.transport.is_closing():
                    return
        except (
            OSError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
            asyncio.CancelledError,
        ):
            # The client has left, or was ended.
            pass
        finally:
            self.tasks.discard(asyncio.current_task())
            writer.close()


async def read_request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode(errors="replace")
    length = re.search(r"(?i)content-length: *(\d+)", head)
    body = await reader.readexactly(int(length[1])) if length else b""
    return head, body


@dataclass
class Stream:
    """The account of one connection: what was written, and when."""

    # The client's end, as it stands in the kernel's tables.
    client_port: int
    sent_bytes: int = 0
    # For each write: bytes until then, answer, first and last token, and the time in UTC ns.
    writes: list[tuple[int, int, int, int, int]] = field(default_factory=list)


class Stamping:
    """A server whose tokens say which they are, and that notes when it wrote each.

    Token `k` is the text ` :k`; the first of answer `a` is ` a:0`. All but the first are made
    before anybody asks, and each connection has a thread, so that a server without pause is faster
    than its client.
    """

    def __init__(self, trial: Trial, *, tokens: int, pause: float, per_write: int = 1):
        self.pause = pause
        # What is written after the first token: its last token, and its bytes.
        self.pieces = [
            (
                last,
                chunk(
                    b"".join(delta(f" :{token}") for token in range(last - per_write + 1, last + 1))
                ),
            )
            for last in range(per_write, tokens, per_write)
        ]
        self.streams: list[Stream] = []
        self.answers = 0
        self.lock = threading.Lock()
        self.is_closed = False
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        trial.closing.callback(self._stop)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _stop(self) -> None:
        self.is_closed = True
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, address = self.listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
            stream = Stream(address[1])
            self.streams.append(stream)
            threading.Thread(
                target=self._answer_all, args=(connection, stream), daemon=True
            ).start()

    def _answer_all(self, connection: socket.socket, stream: Stream) -> None:
        with connection, contextlib.suppress(OSError):
            waiting = b""
            while True:
                while b"\r\n\r\n" not in waiting:
                    got = connection.recv(65_536)
                    if not got:
                        return
                    waiting += got
                head, rest = waiting.split(b"\r\n\r\n", 1)
                length = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])
                while len(rest) < length:
                    rest += connection.recv(65_536)
                waiting = rest[length:]
                self._answer(connection, stream)

    def _answer(self, connection: socket.socket, stream: Stream) -> None:
        with self.lock:
            answer, self.answers = self.answers, self.answers + 1
        self._write(connection, stream, CHUNKED_HEAD)
        first = 0
        for last, piece in [(0, chunk(delta(f" {answer}:0"))), *self.pieces]:
            if self.is_closed:
                return
            end = stream.sent_bytes + len(piece)
            stream.writes.append((end, answer, first, last, time.time_ns()))
            self._write(connection, stream, piece)
            first = last + 1
            time.sleep(self.pause)
        self._write(connection, stream, chunk(STOP + DONE) + b"0\r\n\r\n")

    def _write(self, connection: socket.socket, stream: Stream, data: bytes) -> None:
        view = memoryview(data)
        while view:
            count = connection.send(view)
            stream.sent_bytes += count
            view = view[count:]

    def read_by_client(self) -> dict[int, int]:
        """Bytes of each stream that its client has taken from the kernel, by the client's port.

        The client must be stopped, so that its queues stand still.
        """
        before = None
        while True:
            unread = queues(self.port)
            now = {
                one.client_port: one.sent_bytes - unread.get(one.client_port, 0)
                for one in self.streams
            }
            if now == before:
                return now
            before = now
            time.sleep(0.05)


def queues(port: int) -> dict[int, int]:
    """Bytes between a server on `port` and each client's program, by the client's port: what the
    server's socket has not passed on, and what waits in the client's."""
    unread: dict[int, int] = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        own, peer = (int(end.split(":")[1], 16) for end in columns[1:3])
        sending, waiting = (int(size, 16) for size in columns[4].split(":"))
        if own == port and peer:
            unread[peer] = unread.get(peer, 0) + sending
        elif peer == port:
            unread[own] = unread.get(own, 0) + waiting
    return unread


def client_of(url: str) -> list[str]:
    """The words by which a run of the program speaks to a server."""
    return ["--backend", "openai-chat", "--base-url", url, "--model", "m"]


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def ask(
    port: int, request: str | bytes, seconds: float = 20.0, most: int = 4 << 20
) -> tuple[int, str]:
    """Sends the bytes of a request; returns the status of the answer (0: none) and all of it."""
    data = request.encode() if isinstance(request, str) else request
    answer = b""
    until = time.monotonic() + seconds
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), seconds) as own,
    ):
        with contextlib.suppress(OSError):
            own.sendall(data)
        while len(answer) < most and (left := until - time.monotonic()) > 0:
            own.settimeout(left)
            got = own.recv(65_536)
            if not got:
                break
            answer += got
    status = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
    return int(status[1]) if status else 0, answer.decode(errors="replace")


def lowest_cores() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0))
