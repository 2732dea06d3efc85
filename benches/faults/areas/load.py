"""Load beyond what client or server can do: nothing that was due is left out of the account."""

import asyncio
import json
import os
import time

from cases import MIB, Trial, case, expect
from servers import (
    CHUNKED_HEAD,
    DONE,
    STOP,
    Exchange,
    Scripted,
    Stamping,
    chunk,
    client_of,
    delta,
    event,
    free_port,
    with_length,
)

AREA = "load"


def words_of(url: str, *more: str) -> list[str]:
    words = ["load", *client_of(url), "--self-check", "0s"]
    return [*words, "--random-input-len", "1", "--out", "run.tape", *more]


def due_in(trial: Trial) -> int:
    """Requests that were due by the tape: its rows, and those that are only counted."""
    rows = trial.rows("run.tape", "SELECT count(*) AS n FROM requests")[0]["n"]
    counts = json.loads((trial.folder / "run.tape/manifest.json").read_text())["counts"]
    return rows + counts["unwritten"]


def tape_bytes(trial: Trial) -> int:
    return sum(
        path.stat().st_size for path in (trial.folder / "run.tape").rglob("*") if path.is_file()
    )


@case(AREA, seconds=120)
def too_many_a_second(trial: Trial) -> str:
    """Beyond the client's limit what was due and never sent is counted, said in the first line, and
    exit code 1 under `--strict`."""
    server = trial.start(
        "simulate",
        "--port",
        "0",
        "--bare",
        "--stamp",
        "--stream-rate",
        "1000",
        "--stream-ttft",
        "1ms",
    )
    url = "http://127.0.0.1:" + server.wait_for("http://127.0.0.1:").rsplit(":", 1)[1].split()[0]
    words = [
        "--arrivals",
        "constant",
        "--request-rate",
        "20000",
        "--duration",
        "2s",
        "--drain",
        "1s",
    ]
    words += ["--random-output-len", "1", "--strict"]
    ended = trial.run(*words_of(url, *words), seconds=90)
    due = due_in(trial)
    expect(abs(due - 40_000) <= 1, f"{due} of 40,000 are on the tape")
    sent = trial.rows("run.tape", "SELECT count(*) AS n FROM requests WHERE sent_ns IS NOT NULL")[
        0
    ]["n"]
    if sent == due:
        return f"all {due} were sent in time"
    ended.expect_code(1)
    first = ended.out.split("====")[0]
    expect("sent" in first, f"{due - sent} not sent, and the first line is: {first[:200]}")
    return f"{sent} of {due} sent, exit 1, {ended.seen()}"


@case(AREA, seconds=90)
def drain_of_what_was_due(trial: Trial) -> str:
    """What was due before the end of `--duration` has the time of `--drain` to be sent."""
    server = Stamping(trial, tokens=2, pause=0.05)
    words = [
        "--arrivals",
        "constant",
        "--request-rate",
        "100",
        "--duration",
        "2s",
        "--drain",
        "20s",
    ]
    ended = trial.run(
        *words_of(server.url, *words, "--max-concurrency", "5", "--no-summary"), seconds=40
    )
    ended.expect_code(0)
    ok = trial.rows("run.tape", "SELECT count(*) AS n FROM requests WHERE status = 'ok'")[0]["n"]
    expect(ok >= 199, f"{ok} of 200 were sent and answered; all could have been in the drain")
    return f"{ok} of 200 ok"


@case(AREA, seconds=120)
def all_due_at_once(trial: Trial) -> str:
    """200,000,000 requests that are due at once, against a closed port, end within a minute of a
    schedule of 2 s and leave a small tape."""
    url = f"http://127.0.0.1:{free_port()}"
    words = [
        "--num-prompts",
        "200000000",
        "--request-rate",
        "inf",
        "--duration",
        "2s",
        "--drain",
        "1s",
    ]
    running = trial.start(*words_of(url, *words))
    until = time.monotonic() + 60
    while running.is_running():
        size = tape_bytes(trial)
        expect(
            size < 512 * MIB,
            f"the tape has {size // MIB} MiB after {time.monotonic() - running.began:.0f} s",
        )
        expect(
            time.monotonic() < until, f"still running after 60 s; the tape has {size // MIB} MiB"
        )
        time.sleep(0.2)
    running.wait(1).expect_code(3)
    return f"{running.ended.seen()}, tape of {tape_bytes(trial) // 1024} KiB"


@case(AREA, seconds=60)
def wrong_address(trial: Trial) -> str:
    """A port that nobody listens on is found out in seconds, not at the end of the schedule."""
    words = ["--request-rate", "10", "--num-prompts", "600"]
    ended = trial.run(*words_of(f"http://127.0.0.1:{free_port()}", *words), seconds=20)
    return ended.expect_code(3, 4).seen()


@case(AREA, seconds=60)
def result_folder(trial: Trial) -> str:
    """A place for `--save-result` that can't be written is refused before anything is sent."""
    server = Stamping(trial, tokens=2, pause=0.0)
    words = ["--num-prompts", "4", "--save-result", "--result-dir", "/proc/none"]
    ended = trial.run(*words_of(server.url, *words)).expect_code(2, 4)
    expect(server.answers == 0, f"{server.answers} requests were sent before it was noticed")
    return ended.seen()


@case(AREA, seconds=60)
def names_by_default(trial: Trial) -> str:
    """Runs that begin in one second have tapes of their own."""
    server = Stamping(trial, tokens=2, pause=0.0)
    words = words_of(server.url, "--num-prompts", "4", "--no-summary")
    del words[words.index("--out") : words.index("--out") + 2]
    running = [trial.start(*words) for _ in range(3)]
    for one in running:
        one.wait(20).expect_code(0)
    names = sorted(path.name for path in trial.folder.glob("*.tape"))
    expect(len(names) == 3, f"{names}")
    return ", ".join(names)


@case(AREA, seconds=60)
def many_streams(trial: Trial) -> str:
    """400 streams at once: every token that the server wrote is on the tape, in bounded memory."""
    server = Stamping(trial, tokens=10, pause=0.1)
    words = ["--max-concurrency", "400", "--num-prompts", "800", "--no-summary"]
    ended = trial.run(*words_of(server.url, *words), seconds=40, most_bytes=400 * MIB).expect_code(
        0
    )
    query = "SELECT count(*) AS n FROM chunks WHERE is_token_bearing"
    tokens = trial.rows("run.tape", query)[0]["n"]
    expect(server.answers == 800 and tokens == 8_000, f"{server.answers} answers, {tokens} tokens")
    return f"800 answers, 8,000 tokens, {ended.peak_bytes // MIB} MiB"


# What becomes of a request in the soak, in turn, and its row on the tape.
MIX = (
    "ok",
    "ok",
    "truncated",
    "http_429",
    "http_5xx",
    "bad_event",
    "ok",
    "timeout_idle",
    "in_stream",
    "ok",
)


def soaked(trial: Trial, seconds: int) -> str:
    """Loads a server that fails in known ways, and holds the tape against the server's account."""
    account: dict[str, int] = {}
    written = 0

    async def handler(exchange: Exchange) -> None:
        nonlocal written
        fault = MIX[exchange.index % len(MIX)]
        account[fault] = account.get(fault, 0) + 1
        if fault.startswith("http"):
            await exchange.send(with_length("429 Slow" if fault == "http_429" else "500 No", b"{}"))
            return
        await exchange.send(CHUNKED_HEAD)
        for _ in range(10):
            await exchange.send(chunk(delta(" x")))
            written += 1
            await asyncio.sleep(0.02)
        ends = {
            "ok": chunk(STOP + DONE) + b"0\r\n\r\n",
            "bad_event": chunk(b"data: {no json\n\n") + b"0\r\n\r\n",
            "in_stream": chunk(event({"error": {"message": "out of memory"}})) + b"0\r\n\r\n",
        }
        await exchange.send(ends.get(fault, b""))
        if fault == "timeout_idle":
            await exchange.until_it_leaves()
        if fault not in ("ok", "bad_event", "in_stream"):
            exchange.close()

    server = Scripted(trial, handler)
    count = 40 * seconds
    words = [
        "--request-rate",
        "40",
        "--num-prompts",
        str(count),
        "--idle-timeout",
        "1s",
        "--no-summary",
    ]
    running = trial.start(*words_of(server.url, *words), most_bytes=300 * MIB)
    time.sleep(seconds / 2)
    files_before = len(os.listdir(f"/proc/{running.pid}/fd"))
    time.sleep(seconds / 2 - 1)
    files = len(os.listdir(f"/proc/{running.pid}/fd"))
    ended = running.wait(seconds + 30).expect_code(0)
    query = "SELECT coalesce(error_kind, status) AS kind, count(*) AS n FROM requests GROUP BY 1"
    on_tape = {row["kind"]: row["n"] for row in trial.rows("run.tape", query)}
    expect(on_tape == account, f"tape {on_tape}, server {account}")
    tokens = trial.rows("run.tape", "SELECT count(*) AS n FROM chunks WHERE is_token_bearing")[0][
        "n"
    ]
    expect(tokens == written, f"{tokens} tokens on the tape, {written} written")
    expect(
        files <= files_before + 60, f"{files_before} open files at half time, {files} at the end"
    )
    seen = f"{ended.peak_bytes // MIB} MiB, {files} files"
    return f"{count} requests and {tokens} tokens on both sides, {seen}"


@case(AREA, seconds=60)
def soak(trial: Trial) -> str:
    """Every request and token of a server that fails in known ways is on the tape, each once."""
    return soaked(trial, 6)


@case(AREA, slow=True, seconds=300)
def soak_of_two_minutes(trial: Trial) -> str:
    """Two minutes of a server that fails in known ways: exact counts, level memory and files."""
    return soaked(trial, 120)
