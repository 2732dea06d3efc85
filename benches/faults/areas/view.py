"""`view`: without its token nobody gets anything, and no caller holds up the others."""

import contextlib
import signal
import socket
import threading
import time
import urllib.parse
from dataclasses import dataclass

from cases import MIB, Running, Trial, case, each, expect
from servers import ask

from areas.sql import RECURSION, SERIES, small_tape
from areas.tape import contents

AREA = "view"

# Most memory that `view` may take with whatever it is asked, in bytes: two questions at a time of a
# gigabyte each, and the program around them.
VIEW_BYTES = 3_072 * MIB


@dataclass
class Page:
    """A `view` that serves."""

    running: Running
    port: int
    # The path with its token, from slash to slash.
    home: str

    def get(
        self,
        path: str,
        seconds: float = 20.0,
        *,
        host: str = "",
        method: str = "GET",
        head: str = "",
    ) -> tuple[int, str]:
        """Asks for a path as it is written; returns status and answer."""
        host = host or f"127.0.0.1:{self.port}"
        text = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{head}\r\n"
        return ask(self.port, text, seconds)

    def question(self, sql: str, seconds: float = 20.0) -> tuple[int, str]:
        return self.get(f"{self.home}sql.csv?q={urllib.parse.quote(sql)}", seconds)

    def expect_alive(self, seconds: float = 10.0) -> float:
        """Wrong where the page of another does not come in time; returns how long it took."""
        began = time.monotonic()
        status, _ = self.question("SELECT 1", seconds)
        took = time.monotonic() - began
        expect(
            self.running.is_running(),
            f"`view` has ended: {self.running.ended and self.running.ended.seen()}",
        )
        expect(status == 200, f"another question: status {status} after {took:.1f} s")
        return took


def served(trial: Trial, shell: str = "") -> Page:
    """Serves a small tape."""
    small_tape(trial)
    running = trial.start("view", "run.tape", shell=shell, most_bytes=VIEW_BYTES)
    address = running.wait_for("http://").split("http://")[1].split()[0]
    host, path = address.split("/", 1)
    expect(host.startswith("127.0.0.1:"), f"listens on {host}")
    return Page(running, int(host.split(":")[1]), f"/{path}")


def status_of(trial: Trial, statuses: tuple[int, ...], request) -> str:
    """Sends one request, and looks at the status; nothing of the tape may be in a refusal."""
    page = served(trial)
    status, answer = request(page)
    expect(status in statuses, f"status {status}: {answer[:100]}")
    expect(
        status < 400 or ("requests" not in answer and page.home not in answer),
        "a refusal that tells",
    )
    return f"status {status}"


def path(text: str, **options):
    """A request for a path, in which `HOME` is the path with the token."""
    return lambda page: page.get(text.replace("HOME/", page.home), **options)


def with_host(form: str):
    return lambda page: page.get(page.home, host=form.replace("PORT", str(page.port)))


def raw(text: str):
    """A request of these bytes, in which `HOME` and `PORT` are filled in."""

    def send(page: Page):
        filled = text.replace("HOME/", page.home).replace("PORT", str(page.port))
        return ask(page.port, filled)

    return send


REFUSED = "refused, and tells nothing"
CALLERS = {
    "token-none": (REFUSED, (403, 404), path("/")),
    "token-wrong": (REFUSED, (403,), path("/" + "A" * 32 + "/")),
    "token-short": (REFUSED, (403,), lambda page: page.get(page.home[:-2] + "/")),
    "token-long": (REFUSED, (403,), lambda page: page.get(page.home[:-1] + "A/")),
    "token-other-case": (REFUSED, (403,), lambda page: page.get(page.home.swapcase())),
    "token-as-query": (
        REFUSED,
        (403, 404),
        lambda page: page.get(f"/?token={page.home.strip('/')}"),
    ),
    "token-as-cookie": (
        REFUSED,
        (403, 404),
        lambda page: page.get("/", head=f"Cookie: token={page.home.strip('/')}\r\n"),
    ),
    "token-as-bearer": (
        REFUSED,
        (403, 404),
        lambda page: page.get("/", head=f"Authorization: Bearer {page.home.strip('/')}\r\n"),
    ),
    "token-second": (REFUSED, (403, 404), path("/x/HOME/")),
    "token-behind-dots": (REFUSED, (403, 404), path("/x/..HOME/")),
    "token-of-100-kB": (REFUSED, (403, 414), path("/" + "A" * 100_000 + "/")),
    "host-evil": (REFUSED, (403,), with_host("evil.example:PORT")),
    "host-suffixed": (REFUSED, (403,), with_host("127.0.0.1:PORT.evil.example")),
    "host-prefixed": (REFUSED, (403,), with_host("localhost.evil.example:PORT")),
    "host-user": (REFUSED, (400, 403), with_host("127.0.0.1:PORT@evil.example")),
    "host-without-port": (REFUSED, (403,), with_host("localhost")),
    "host-other-port": (REFUSED, (403,), with_host("localhost:1")),
    "host-any-address": (REFUSED, (403,), with_host("0.0.0.0:PORT")),
    "host-decimal": (REFUSED, (403,), with_host("2130706433:PORT")),
    "host-mapped": (REFUSED, (403,), with_host("[::ffff:127.0.0.1]:PORT")),
    "host-none": (REFUSED, (400, 403), raw("GET HOME/ HTTP/1.1\r\nConnection: close\r\n\r\n")),
    "host-none-1.0": (REFUSED, (400, 403), raw("GET HOME/ HTTP/1.0\r\n\r\n")),
    "host-twice": (
        REFUSED,
        (400, 403),
        raw(
            "GET HOME/ HTTP/1.1\r\nHost: evil.example\r\nHost: 127.0.0.1:PORT\r\n"
            "Connection: close\r\n\r\n"
        ),
    ),
    "host-absolute-form": (
        REFUSED,
        (400, 403),
        raw(
            "GET http://evil.example/HOME/ HTTP/1.1\r\nHost: evil.example\r\n"
            "Connection: close\r\n\r\n"
        ),
    ),
    "method-post": (REFUSED, (403, 405), path("HOME/", method="POST")),
    "method-put": (REFUSED, (403, 405), path("HOME/", method="PUT")),
    "method-delete": (REFUSED, (403, 405), path("HOME/", method="DELETE")),
    "method-options": (REFUSED, (403, 405), path("HOME/", method="OPTIONS")),
    "method-connect": (
        REFUSED,
        (400, 403, 404, 405),
        raw("CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nConnection: close\r\n\r\n"),
    ),
    "traversal": (REFUSED, (400, 403, 404), path("HOME/../../../../etc/passwd")),
    "traversal-encoded": (REFUSED, (400, 403, 404), path("HOME/%2e%2e/%2e%2e/etc/passwd")),
    "traversal-backslash": (REFUSED, (400, 403, 404), path("HOME/..\\..\\etc\\passwd")),
    "traversal-double": (REFUSED, (400, 403, 404), path("HOME/%252e%252e/etc/passwd")),
    "file-of-the-tape": (REFUSED, (404,), path("HOME/run.tape/manifest.json")),
    "line-end-in-the-path": (REFUSED, (400, 403, 404), path("HOME/%0d%0aSet-Cookie:x")),
    "smuggled": (
        REFUSED,
        (400, 403, 405),
        raw(
            "GET HOME/ HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 4\r\n"
            "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n"
        ),
    ),
    "address-of-3-MB": (REFUSED, (0, 400, 403, 414, 431), path("HOME/?q=" + "x" * 3_000_000)),
    "heads-of-3-MB": (REFUSED, (0, 400, 431), path("HOME/", head="x: y\r\n" * 500_000)),
    "no-http": (REFUSED, (0, 400), raw("\x16\x03\x01\x02\x00\x01" + "x" * 100 + "\r\n\r\n")),
}
each(AREA, CALLERS, status_of)

ASKED = {
    "copy": "COPY (SELECT 1) TO 'x.csv'",
    "external-table": "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
    "file": "SELECT * FROM '/etc/passwd'",
    "set": "SET datafusion.execution.batch_size = 1",
    "second-copy": "SELECT 1; COPY (SELECT 1) TO 'x.csv'",
}


def asked(trial: Trial, text: str) -> str:
    page = served(trial)
    status, answer = page.question(text)
    expect(400 <= status < 500 and "root:" not in answer, f"status {status}: {answer[-200:]}")
    page.expect_alive()
    expect(not (trial.folder / "x.csv").exists(), "wrote a file")
    return f"status {status}"


each(
    AREA,
    {f"sql-{name}": ("refused, and nothing is written", text) for name, text in ASKED.items()},
    asked,
)


@case(AREA)
def headers(trial: Trial) -> str:
    """A page is not stored, not framed, tells nobody its address, and runs no other script."""
    page = served(trial)
    status, answer = page.get(page.home)
    head = answer.split("\r\n\r\n")[0].lower()
    for words in ("no-store", "nosniff", "no-referrer", "content-security-policy"):
        expect(words in head, f"no {words}: {head}")
    expect("access-control" not in head, "other origins may read")
    expect("'unsafe-eval'" not in head and "script-src *" not in head, head)
    return f"status {status}"


@case(AREA)
def only_on_loopback(trial: Trial) -> str:
    """It listens on 127.0.0.1 alone, not on this machine's other addresses."""
    page = served(trial)
    # 127.0.0.2 is loopback as well, and would be reached if it listened on all addresses.
    with contextlib.closing(socket.socket()) as own:
        expect(own.connect_ex(("127.0.0.2", page.port)) != 0, "listens on more than 127.0.0.1")
    return "127.0.0.1 alone"


@case(AREA)
def markup_in_a_question(trial: Trial) -> str:
    """What was asked comes back as text, in page and error."""
    page = served(trial)
    markup = "<script>alert(1)</script>"
    for text in (f"SELECT '{markup}' AS \"{markup}\"", markup):
        _, answer = page.get(f"{page.home}sql?q={urllib.parse.quote(text)}")
        expect("<script>alert" not in answer, "markup came back raw")
    return "shown as text"


def heavy(trial: Trial, text: str) -> str:
    """Asks two heavy questions and lets them go on; others are answered meanwhile."""
    page = served(trial)
    # The report is made once and kept, so that what is timed below is the waiting.
    page.get(page.home, 40.0)
    asking = [
        threading.Thread(target=page.question, args=(text, 15.0), daemon=True) for _ in range(2)
    ]
    for one in asking:
        one.start()
    time.sleep(1.0)
    # The report's own page, and a question of somebody else.
    began = time.monotonic()
    status, _ = page.get(page.home, 10.0)
    expect(status == 200, f"the report: status {status} after {time.monotonic() - began:.1f} s")
    while any(one.is_alive() for one in asking):
        page.running.is_running()
        time.sleep(0.05)
    took = page.expect_alive(20.0)
    return f"another answered in {took:.1f} s, {page.running.peak_bytes // MIB} MiB"


MEANWHILE = "bounded in memory, and others are answered meanwhile and afterwards"
HEAVY = {
    "repeat": "SELECT repeat('x', 2000000000)",
    "lpad": "SELECT lpad('x', 2000000000)",
    "cross-join": "SELECT count(*) FROM chunks a, chunks b, chunks c, chunks d, chunks e, chunks f",
    "recursion": f"{RECURSION} n + 1 FROM t) SELECT max(n) FROM t",
    "generator": f"SELECT count(DISTINCT value) FROM {SERIES}",
    "generator-collected": f"SELECT length(string_agg(CAST(value AS VARCHAR), ',')) FROM {SERIES}",
    "array-repeat": "SELECT array_length(array_repeat(1, 1000000000))",
    "time-zone": "SELECT now()" + " AT TIME ZONE 'UTC'" * 2_100,
    "parentheses": "SELECT " + "(" * 2_100 + "1" + ")" * 2_100,
}
each(AREA, {f"heavy-{name}": (MEANWHILE, text) for name, text in HEAVY.items()}, heavy, seconds=100)


def crowded(trial: Trial, count: int, text: str, shell: str) -> str:
    """Many connections that say nothing, or half of a request; another is answered meanwhile."""
    page = served(trial, shell)
    with contextlib.ExitStack() as open_ones:
        for _ in range(count):
            own = open_ones.enter_context(contextlib.closing(socket.socket()))
            own.settimeout(2.0)
            with contextlib.suppress(OSError):
                own.connect(("127.0.0.1", page.port))
                own.sendall(text.encode())
        took = page.expect_alive(20.0)
    return f"answered in {took:.1f} s beside {count} others"


HALF = "GET / HTTP/1.1\r\nHost: 127"
CROWDS = {
    "half-heads": ("half heads hold nobody up", 300, HALF, ""),
    "idle-connections": ("idle connections hold nobody up", 300, "", ""),
    "idle-connections-few-files": (
        "idle connections hold nobody up for long, with few open files too",
        60,
        "",
        "ulimit -n 40",
    ),
    "half-heads-few-files": (
        "half heads hold nobody up for long, with few open files too",
        60,
        HALF,
        "ulimit -n 40",
    ),
    "half-bodies-few-files": (
        "half bodies hold nobody up for long",
        60,
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n",
        "ulimit -n 40",
    ),
}
each(AREA, CROWDS, crowded, seconds=90)


@case(AREA, slow=True, seconds=90)
def half_heads_are_closed(trial: Trial) -> str:
    """A connection that says half of a request is closed within a minute."""
    page = served(trial)
    with socket.create_connection(("127.0.0.1", page.port)) as own:
        own.sendall(HALF.encode())
        own.settimeout(60.0)
        began = time.monotonic()
        try:
            while own.recv(4_096):
                pass
        except TimeoutError:
            expect(False, "still open after 60 s")
    return f"closed after {time.monotonic() - began:.0f} s"


@case(AREA)
def slow_readers(trial: Trial) -> str:
    """Callers that never read their answers hold nobody up."""
    page = served(trial)
    with contextlib.ExitStack() as open_ones:
        for _ in range(50):
            own = open_ones.enter_context(socket.create_connection(("127.0.0.1", page.port)))
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            own.sendall(f"GET {page.home} HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n\r\n".encode())
        took = page.expect_alive(20.0)
    return f"answered in {took:.1f} s, {page.running.peak_bytes // MIB} MiB"


@case(AREA)
def interrupted_while_asked(trial: Trial) -> str:
    """SIGINT ends it within seconds, also while a heavy question is answered."""
    page = served(trial)
    text = "SELECT count(*) FROM chunks a, chunks b, chunks c, chunks d, chunks e, chunks f"
    threading.Thread(target=page.question, args=(text, 10.0), daemon=True).start()
    time.sleep(1.0)
    page.running.send(signal.SIGINT)
    ended = page.running.wait(8).expect_code(0, 130)
    return ended.seen()


@case(AREA)
def nothing_is_written(trial: Trial) -> str:
    """The tape stays as it was, byte for byte, whatever is asked."""
    page = served(trial)
    before = contents(trial.folder / "run.tape")
    for name in ("", "sql", "sql.csv?q=SELECT+1"):
        page.get(page.home + name)
    expect(contents(trial.folder / "run.tape") == before, "the tape has changed")
    return f"{len(before)} files and folders as before"
