"""Secrets: a key reaches its server and is in nothing that a run leaves, in any encoding."""

import base64
import json
import time
import urllib.parse

from cases import Trial, case, each, expect
from servers import (
    CHUNKED_HEAD,
    DONE,
    STOP,
    WHOLE,
    Exchange,
    Scripted,
    chunk,
    client_of,
    delta,
    event,
    free_port,
    with_length,
)

AREA = "secrets"

# A key with letters that encodings change; it may stand in a header, an address and JSON.
KEY = "sk-Zq7+w/9=~Kx2:vN4"
USER = "alice"

VIEWS = ("requests", "attempts", "chunks", "tokens", "probes", "server_metrics", "runs", "steps")


def forms(secret: str) -> dict[str, bytes]:
    """The secret in every encoding in which it could be left."""
    quoted = urllib.parse.quote(secret, safe="")
    basic = base64.b64encode(f"{USER}:{secret}".encode()).decode().rstrip("=")
    # Base64 of a text that the secret stands in depends on what is before it, so all three shifts.
    shifted = [
        base64.b64encode(b" " * shift + secret.encode()).decode()[4:-4] for shift in range(3)
    ]
    found = {
        "as it is": secret,
        "percent-encoded": quoted,
        "percent-encoded, lower case": urllib.parse.quote(secret, safe="")
        .replace("%2B", "%2b")
        .replace("%2F", "%2f"),
        "percent-encoded twice": urllib.parse.quote(quoted, safe=""),
        "as a form": urllib.parse.quote_plus(secret),
        "in JSON": json.dumps(secret).strip('"').replace("/", "\\/"),
        "in JSON, escaped": "".join(f"\\u{ord(letter):04x}" for letter in secret),
        "in HTML": secret.replace("=", "&#61;"),
        "as Basic": basic,
        "in hexadecimal": secret.encode().hex(),
        "backwards": secret[::-1],
        **{f"in base64 {shift}": text for shift, text in enumerate(shifted)},
    }
    return {name: text.encode() for name, text in found.items()}


def expect_none_left(trial: Trial, secret: str = KEY) -> int:
    """Wrong where any file of the case's folder has the secret; returns how many were looked at."""
    count = 0
    for path in sorted(trial.folder.rglob("*")):
        if not path.is_file():
            continue
        count += 1
        content = path.read_bytes()
        for form, text in forms(secret).items():
            place = content.find(text)
            name = path.relative_to(trial.folder)
            before = content[max(place - 40, 0) : place].decode(errors="replace")
            expect(
                place < 0,
                f"{form} in {name}: …{before}<secret>",
            )
    return count


def dumped(trial: Trial) -> None:
    """Prints every view of `run.tape`, whose text Parquet would hide from a search."""
    if (trial.folder / "run.tape").exists():
        views = "; ".join(f"SELECT * FROM {view}" for view in VIEWS)
        trial.run("sql", "run.tape", "--format", "ndjson", "-c", views, seconds=30).expect_code(
            0, 4
        )


async def fine(exchange: Exchange) -> None:
    await exchange.send(CHUNKED_HEAD + chunk(WHOLE) + b"0\r\n\r\n")


def run_with(trial: Trial, url: str, words: list[str], env: dict[str, str], verb: str = "load"):
    """Runs a load of a few requests with such words."""
    all_words = [*client_of(url), "--self-check", "0s"]
    if verb == "load":
        all_words += ["--num-prompts", "3", "--random-input-len", "1", "--max-concurrency", "1"]
    else:
        (trial.folder / "a.csv").write_text(
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2026-01-05 09:00:00.0000000,1,3\n"
        )
        all_words = ["a.csv", *all_words]
    all_words += [
        "--keep",
        "text",
        "--request-timeout",
        "3s",
        "--no-summary",
        "--out",
        "run.tape",
        *words,
    ]
    return trial.run(verb, *all_words, env=env, seconds=25).expect_code(0, 2, 3, 4)


def leaves_none(
    trial: Trial, base_url: str, words: list[str], env: dict[str, str], verb: str = "load"
) -> str:
    """Runs with a secret, and looks at all that is left. `PORT` stands for the server's port."""
    server = Scripted(trial, fine)
    port = str(free_port() if base_url.startswith("refused ") else server.port)
    ended = run_with(
        trial, base_url.removeprefix("refused ").replace("PORT", port), words, env, verb
    )
    dumped(trial)
    return f"exit {ended.code}, {expect_none_left(trial)} files without it"


HERE = "http://127.0.0.1:PORT"
QUOTED = urllib.parse.quote(KEY, safe="")
ENV = {"OPENAI_API_KEY": KEY}
PROXY = {
    name: f"http://{USER}:{QUOTED}@127.0.0.1:9"
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
}
NESTED = json.dumps(
    {
        "metadata": {
            "nested": [{name: KEY for name in ("password", "auth", "token", "api_key", "secret")}]
        }
    }
)
NAMES = json.dumps(
    {
        name: KEY
        for name in (
            "authorization",
            "apikey",
            "api-key",
            "apiKey",
            "accessToken",
            "access_token",
            "client_secret",
            "credentials",
            "passwd",
            "passphrase",
            "private_key",
            "x-api-key",
            "bearer",
            "session_token",
            "Auth",
            "aws_secret_access_key",
        )
    }
)
LEFT = "the secret is in nothing that the run leaves"
GIVEN = {
    "key-in-the-environment": (HERE, [], ENV),
    "key-in-a-header": (HERE, ["--header", f"Authorization: Bearer {KEY}"], {}),
    "own-header": (HERE, ["--header", f"X-Key: {KEY}", "--header", f"Cookie: session={KEY}"], {}),
    "user-in-the-address": (f"http://{USER}:{QUOTED}@127.0.0.1:PORT", [], {}),
    "query-of-the-address": (f"{HERE}?api_key={QUOTED}", [], {}),
    "query-of-the-endpoint": (
        HERE,
        ["--endpoint", f"/v1/chat/completions?key={QUOTED}&api-version=1"],
        {},
    ),
    "query-of-the-endpoint-signed": (
        HERE,
        ["--endpoint", f"/v1/x?sig={QUOTED}&X-Amz-Signature={QUOTED}"],
        {},
    ),
    "query-of-the-endpoint-alone": (HERE, ["--endpoint", f"/v1/x?{QUOTED}"], {}),
    "fragment-of-the-endpoint": (HERE, ["--endpoint", f"/v1/x#{QUOTED}"], {}),
    "extra-body-nested": (HERE, ["--extra-body", NESTED], {}),
    "extra-body-names": (HERE, ["--extra-body", NAMES], {}),
    "extra-body-wrong-json": (HERE, ["--extra-body", f'{{"api_key":"{KEY}"'], {}),
    "header-without-colon": (HERE, ["--header", KEY.replace(":", "")], {}),
    "header-with-a-line-end": (HERE, ["--header", f"X-Key: a\r\n{KEY}"], {}),
    "key-with-a-line-end": (HERE, [], {"OPENAI_API_KEY": f"{KEY}\r\nx: y"}),
    "proxy": (HERE, ["--wire", "reqwest"], PROXY),
    "proxy-wrong": (HERE, ["--wire", "reqwest"], {"http_proxy": f"htp://{USER}:{QUOTED}@"}),
    "other-client": (HERE, ["--wire", "reqwest", "--header", f"X-Key: {KEY}"], ENV),
    "dry-run": (HERE, ["--dry-run", "--header", f"X-Key: {KEY}", "--extra-body", NESTED], ENV),
    "refused": ("refused " + HERE, ["--header", f"X-Key: {KEY}"], ENV),
    "refused-user": (f"refused http://{USER}:{QUOTED}@127.0.0.1:PORT", [], {}),
    "refused-query": (f"refused {HERE}?api_key={QUOTED}", [], {}),
    "refused-query-of-the-endpoint": (
        "refused " + HERE,
        ["--endpoint", f"/v1/x?api_key={QUOTED}"],
        {},
    ),
    "refused-other-client": (
        f"refused http://{USER}:{QUOTED}@127.0.0.1:PORT",
        ["--wire", "reqwest"],
        ENV,
    ),
    "address-wrong": (f"http://{USER}:{QUOTED}@", [], {}),
    "address-wrong-port": (f"http://{USER}:{QUOTED}@127.0.0.1:99999", [], {}),
    "address-without-scheme": (f"{USER}:{QUOTED}@127.0.0.1:PORT", [], {}),
    "address-of-no-host": (f"http://{USER}:{QUOTED}@nowhere.invalid", [], {}),
    "replay": (HERE, ["--header", f"X-Key: {KEY}"], ENV, "replay"),
}
each(
    AREA, {f"given-{name}": (LEFT, *rest) for name, rest in GIVEN.items()}, leaves_none, seconds=90
)


def repeated(trial: Trial, write) -> str:
    """The server says in its answer what it was sent."""

    async def handler(exchange: Exchange) -> None:
        await exchange.send(write(KEY))
        if b"chunked" not in write(KEY):
            exchange.close()

    run_with(trial, Scripted(trial, handler).url, ["--header", f"X-Key: {KEY}"], ENV)
    dumped(trial)
    return f"{expect_none_left(trial)} files without it"


def said(text: str, status: str = "401 No") -> bytes:
    return with_length(
        status,
        json.dumps({"error": {"message": text}}).encode(),
        "content-type: application/json\r\n",
    )


def streamed(value) -> bytes:
    return CHUNKED_HEAD + chunk(event(value) + STOP + DONE) + b"0\r\n\r\n"


MASKED = "a secret that the server repeats is masked wherever it comes back"
REPEATED = {
    "error": lambda key: said(f"bad key: authorization: Bearer {key}"),
    "error-twice": lambda key: said(f"{key}{key} {key}"),
    "error-quoted": lambda key: said(f"'{key}'"),
    "error-percent-encoded": lambda key: said(urllib.parse.quote(key, safe="")),
    "error-base64": lambda key: said(base64.b64encode(key.encode()).decode()),
    "error-of-plain-text": lambda key: with_length("403 No", f"Incorrect API key: {key}".encode()),
    "error-of-json-escapes": lambda key: with_length(
        "403 No",
        ('{"error":{"message":"' + "".join(f"\\u{ord(c):04x}" for c in key) + '"}}').encode(),
    ),
    "error-at-the-bound": lambda key: said("x" * 495 + key),
    "error-in-the-stream": lambda key: streamed({"error": {"message": f"bad key {key}"}}),
    "error-of-500": lambda key: said(f"upstream said {key}", "500 No"),
    "status-line": lambda key: with_length(f"401 {key}", b"no"),
    "content-type": lambda key: with_length("200 OK", b"no", f"content-type: {key}\r\n"),
    "redirect": lambda key: with_length(
        "302 Found", b"", f"location: http://127.0.0.1:9/?key={key}\r\n"
    ),
    "bad-event": lambda key: CHUNKED_HEAD + chunk(f"data: {key}\n\n".encode()) + b"0\r\n\r\n",
    "id": lambda key: streamed(
        {"id": key, "model": key, "choices": [{"index": 0, "delta": {"content": "a"}}]}
    ),
    "finish-reason": lambda key: streamed(
        {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": key}]}
    ),
    "text": lambda key: (
        CHUNKED_HEAD + chunk(delta(f"your key is {key}") + STOP + DONE) + b"0\r\n\r\n"
    ),
    "unread-field": lambda key: streamed(
        {"choices": [{"index": 0, "delta": {"content": "a", key: "long text " * 10}}]}
    ),
}
each(
    AREA,
    {f"repeated-{name}": (MASKED, write) for name, write in REPEATED.items()},
    repeated,
    seconds=90,
)


@case(AREA, seconds=120)
def every_report(trial: Trial) -> str:
    """Given in every way at once and repeated by the server, it is in no report and no summary."""

    async def handler(exchange: Exchange) -> None:
        if exchange.index == 0:
            await fine(exchange)
        else:
            await exchange.send(said(f"bad key: Bearer {KEY}"))

    port = Scripted(trial, handler).port
    words = [
        "--base-url",
        f"http://{USER}:{QUOTED}@127.0.0.1:{port}?api_key={QUOTED}",
        "--model",
        "m",
    ]
    words += [
        "--endpoint",
        f"/v1/x?key={QUOTED}",
        "--header",
        f"X-Key: {KEY}",
        "--extra-body",
        NESTED,
    ]
    words += [
        "--backend",
        "openai-chat",
        "--num-prompts",
        "3",
        "--random-input-len",
        "1",
        "--save-result",
    ]
    trial.run("load", *words, "--out", "run.tape", env=ENV, seconds=40).expect_code(0, 3)
    outputs = ["--html", "r.html", "--markdown", "r.md", "--json", "r.json", "--csv", "tables"]
    trial.run("analyze", "run.tape", *outputs, "--definitions", "all", seconds=60).expect_code(0)
    dumped(trial)
    return f"{expect_none_left(trial)} files without it"


@case(AREA, seconds=60)
def endpoint_with_a_query(trial: Trial) -> str:
    """The query of `--endpoint` reaches the server as it was given."""
    server = Scripted(trial, fine)
    ended = run_with(trial, server.url, ["--endpoint", f"/v1/x?key={QUOTED}&api-version=1"], {})
    line = server.heads[0].split("\r\n")[0] if server.heads else ended.seen()
    expect(f"?key={QUOTED}&api-version=1 " in line, "sent as " + line.replace(QUOTED, "<secret>"))
    return f"exit {ended.code}"


@case(AREA, seconds=60)
def key_reaches_the_server(trial: Trial) -> str:
    """Masking changes nothing of what is sent: the server has key and header as they were given."""
    server = Scripted(trial, fine)
    run_with(trial, server.url, ["--header", f"X-Key: {KEY}"], ENV).expect_code(0)
    head = server.heads[0].lower()
    expect(
        f"authorization: bearer {KEY}".lower() in head and f"x-key: {KEY}".lower() in head,
        "not sent as given",
    )
    return "sent as given"


@case(AREA, seconds=60)
def killed_run(trial: Trial) -> str:
    """The log of a killed run has no secret either that its server had repeated."""

    async def handler(exchange: Exchange) -> None:
        await exchange.send(
            said(f"bad key {KEY}")
            if exchange.index % 2
            else CHUNKED_HEAD + chunk(WHOLE) + b"0\r\n\r\n"
        )

    words = [*client_of(Scripted(trial, handler).url), "--self-check", "0s"]
    words += [
        "--request-rate",
        "100",
        "--random-input-len",
        "1",
        "--num-prompts",
        "100000",
        "--keep",
        "text",
    ]
    running = trial.start("load", *words, "--header", f"X-Key: {KEY}", "--out", "run.tape", env=ENV)
    time.sleep(1.0)
    running.kill()
    count = expect_none_left(trial)
    dumped(trial)
    return f"{count} files of the log without it, and {expect_none_left(trial)} in all"


@case(AREA, seconds=60)
def verify(trial: Trial) -> str:
    """`verify` leaves no secret in its tapes, its JSON, and what it prints."""
    server = trial.start("simulate", "--port", "0", "--stamp", "--stream-rate", "100")
    port = server.wait_for("http://127.0.0.1:").rsplit(":", 1)[1].split("/")[0]
    words = ["--base-url", f"http://127.0.0.1:{port}?api_key={QUOTED}", "--header", f"X-Key: {KEY}"]
    words += [
        "--streams",
        "1",
        "--loop",
        "closed",
        "--duration",
        "300ms",
        "--json",
        "v.json",
        "--out",
        "tapes",
    ]
    ended = trial.run("verify", *words, env=ENV, seconds=40).expect_code(0, 1)
    return f"exit {ended.code}, {expect_none_left(trial)} files without it"


@case(AREA, seconds=60)
def simulate(trial: Trial) -> str:
    """`simulate --api-key` neither prints its key nor tells it to who has a wrong one."""
    running = trial.start("simulate", "--port", "0", "--api-key", KEY)
    port = running.wait_for("http://127.0.0.1:").rsplit(":", 1)[1].split("/")[0]
    ended = run_with(trial, f"http://127.0.0.1:{port}", [], {"OPENAI_API_KEY": "wrong"})
    ended.expect_code(3)
    dumped(trial)
    running.send(15)
    running.wait(5)
    return f"exit {ended.code}, {expect_none_left(trial)} files without it"
