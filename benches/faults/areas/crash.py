"""Crash and signals: what was read is on the tape, whenever and however the program is ended."""

import os
import random
import shutil
import signal
import time

from cases import Running, Trial, case, each, expect, wait_until
from servers import Stamping, client_of, lowest_cores

AREA = "crash"

# What a kill may lose of what the client had read: the tape's contract, and room for a machine
# that is busy.
LOSS_SECONDS = 0.25
ROOM_SECONDS = 0.1

# Every token by answer: how many, of which different, first and last.
TOKENS = """
SELECT CAST(max(split_part(trim(text), ':', 1)) AS BIGINT) AS answer, count(*) AS n,
       count(DISTINCT text) AS different, min(CAST(split_part(text, ':', 2) AS BIGINT)) AS first,
       max(CAST(split_part(text, ':', 2) AS BIGINT)) AS last
FROM chunks WHERE text LIKE ' %:%' GROUP BY request_id
"""


def load(trial: Trial, url: str, *more: str, streams: int = 16, **options) -> Running:
    """Starts a load in a closed loop, whose tape is `run.tape`."""
    words = [*client_of(url), "--random-input-len", "1"]
    words += ["--max-concurrency", str(streams), "--self-check", "0s", "--keep", "text"]
    return trial.start("load", *words, "--out", "run.tape", *more, **options)


def full_speed(trial: Trial) -> Stamping:
    """A server that gives more than a client can decode."""
    return Stamping(trial, tokens=100_000, pause=0.0, per_write=100)


def first_token_written(server: Stamping) -> bool:
    return any(stream.writes for stream in list(server.streams))


def until_tokens(running: Running, server: Stamping) -> None:
    """Waits until the server has begun to answer."""
    wait_until(lambda: first_token_written(server) or not running.is_running(), 15, "a first token")


def whole_answers(trial: Trial, server: Stamping) -> dict[int, int]:
    """The last token of each answer on the tape, after it is known that none before is missing,
    none is there twice, and none was invented."""
    written: dict[int, int] = {}
    for stream in list(server.streams):
        for _, answer, _, last, _ in stream.writes:
            written[answer] = max(last, written.get(answer, -1))
    last = {}
    for row in trial.rows("run.tape", TOKENS, 120):
        expect(
            row["n"] == row["different"], f"{row['n'] - row['different']} tokens are there twice"
        )
        is_whole = row["first"] == 0 and row["last"] + 1 == row["n"]
        expect(is_whole, f"a hole in answer {row['answer']}: {row}")
        expect(row["last"] <= written.get(row["answer"], -1), f"a token that was never sent: {row}")
        last[row["answer"]] = row["last"]
    return last


def killed(trial: Trial, running: Running, server: Stamping) -> tuple[dict[int, int], int]:
    """Stops the client, asks the kernel what it had read, and kills it.

    Returns the bytes by the client's ports, and when it was stopped, in UTC ns.
    """
    running.send(signal.SIGSTOP)
    stopped_ns = time.time_ns()
    had_read = server.read_by_client()
    running.send(signal.SIGKILL)
    running.wait(10)
    return had_read, stopped_ns


def oldest_loss(
    server: Stamping, had_read: dict[int, int], on_tape: dict[int, int]
) -> tuple[int, int]:
    """Tokens that were read and are not on the tape, and when the first of them was written."""
    lost, oldest_ns = 0, 0
    for stream in server.streams:
        for end, answer, first, last, written_ns in stream.writes:
            if end > had_read[stream.client_port] or last <= on_tape.get(answer, -1):
                continue
            lost += last - max(first - 1, on_tape.get(answer, -1))
            oldest_ns = min(oldest_ns or written_ns, written_ns)
    return lost, oldest_ns


def kill_paced(trial: Trial, times: int) -> str:
    """Kills a client whose server is slower than it."""
    draw = random.Random(19)
    seen, losses = 0, []
    for _ in range(times):
        shutil.rmtree(trial.folder / "run.tape", ignore_errors=True)
        server = Stamping(trial, tokens=40, pause=0.02)
        running = load(trial, server.url, "--num-prompts", "100000")
        until_tokens(running, server)
        time.sleep(draw.uniform(0.0, 2.0))
        had_read, stopped_ns = killed(trial, running, server)
        on_tape = whole_answers(trial, server)
        lost, oldest_ns = oldest_loss(server, had_read, on_tape)
        age = (stopped_ns - oldest_ns) / 1e9 if lost else 0.0
        losses.append(age)
        seen += sum(last + 1 for last in on_tape.values())
        expect(
            age <= LOSS_SECONDS + ROOM_SECONDS,
            f"{lost} tokens lost, the oldest {age * 1e3:.0f} ms old",
        )
        expect(trial.state("run.tape") == "interrupted", f"state {trial.state('run.tape')}")
        expect(not (trial.folder / "run.tape/wal").exists(), "the log is still there")
    return f"{times} kills, {seen} tokens whole, oldest loss {max(losses) * 1e3:.0f} ms"


@case(AREA, seconds=60)
def kill_at_random(trial: Trial) -> str:
    """Of a killed run everything read is recovered but the last 250 ms: no hole, no token twice."""
    return kill_paced(trial, 5)


@case(AREA, slow=True, seconds=400)
def kill_at_random_often(trial: Trial) -> str:
    """Thirty random kills lose at most the last 250 ms each, no hole, no token twice."""
    return kill_paced(trial, 30)


def kill_full_speed(trial: Trial, times: int) -> str:
    """Kills a client on one core that gets more than it can decode."""
    cores = lowest_cores()
    if len(cores) > 1:
        os.sched_setaffinity(0, cores[:1])
        trial.closing.callback(os.sched_setaffinity, 0, cores)
    worst, counts = 0.0, 0
    for _ in range(times):
        shutil.rmtree(trial.folder / "run.tape", ignore_errors=True)
        server = full_speed(trial)
        running = load(trial, server.url, "--num-prompts", "1000", streams=8)
        for task in os.listdir(f"/proc/{running.pid}/task"):
            os.sched_setaffinity(int(task), cores[-1:])
        until_tokens(running, server)
        began_ns = time.time_ns()
        time.sleep(1.5)
        had_read, stopped_ns = killed(trial, running, server)
        on_tape = whole_answers(trial, server)
        lost, _ = oldest_loss(server, had_read, on_tape)
        kept = sum(last + 1 for last in on_tape.values())
        # What was lost in the time in which the client reads as much: the server's own stamps
        # would count what waited in the sockets.
        seconds = lost / max(lost + kept, 1) * (stopped_ns - began_ns) / 1e9
        counts += kept
        worst = max(worst, seconds)
        expect(
            seconds <= LOSS_SECONDS + ROOM_SECONDS,
            f"{lost} of {lost + kept} tokens read are lost: {seconds * 1e3:.0f} ms' worth",
        )
    return f"{times} kills, {counts} tokens whole, at most {worst * 1e3:.0f} ms' worth lost"


@case(AREA, seconds=90)
def kill_at_full_speed(trial: Trial) -> str:
    """Also where the client is behind at most 250 ms are lost, by the sockets' own counters."""
    return kill_full_speed(trial, 2)


@case(AREA, slow=True, seconds=600)
def kill_at_full_speed_often(trial: Trial) -> str:
    """Ten kills of a client that is behind lose at most 250 ms each, by the sockets' counters."""
    return kill_full_speed(trial, 10)


def crashed(trial: Trial) -> Stamping:
    """Leaves a killed run as `run.tape`; returns the server with its account."""
    server = full_speed(trial)
    running = load(trial, server.url, "--num-prompts", "1000", streams=8)
    until_tokens(running, server)
    time.sleep(1.0)
    running.send(signal.SIGKILL)
    running.wait(10)
    return server


@case(AREA, seconds=90)
def kill_of_a_recovery(trial: Trial) -> str:
    """A recovery that is killed starts over, and ends with what an undisturbed one has."""
    server = crashed(trial)
    shutil.copytree(trial.folder / "run.tape", trial.folder / "copy.tape")
    for delay in (0.02, 0.1, 0.2, 0.3, 0.5):
        recovery = trial.start("sql", "run.tape", "-c", "SELECT 1")
        time.sleep(delay)
        recovery.send(signal.SIGKILL)
        recovery.wait(5)
    on_tape = whole_answers(trial, server)
    count = "SELECT count(*) AS n FROM chunks"
    disturbed, undisturbed = (trial.rows(name, count, 60) for name in ("run.tape", "copy.tape"))
    expect(disturbed == undisturbed, f"{disturbed}, undisturbed {undisturbed}")
    return f"{len(on_tape)} answers, {disturbed[0]['n']} chunks both times"


@case(AREA, seconds=60)
def term_in_a_recovery(trial: Trial) -> str:
    """A recovery that SIGTERM ends leaves the log whole for the next one."""
    server = crashed(trial)
    recovery = trial.start("sql", "run.tape", "-c", "SELECT 1")
    time.sleep(0.1)
    recovery.send(signal.SIGTERM)
    ended = recovery.wait(10)
    on_tape = whole_answers(trial, server)
    return f"ended with {ended.code}, then {len(on_tape)} answers whole"


@case(AREA, seconds=60)
def two_recoveries_at_once(trial: Trial) -> str:
    """Of two recoveries at once one waits or is refused, and nothing is lost."""
    server = crashed(trial)
    both = [trial.start("sql", "run.tape", "-c", "SELECT 1") for _ in range(2)]
    codes = sorted(one.wait(30).expect_code(0, 4).code for one in both)
    expect(codes[0] == 0, f"exit codes {codes}")
    return f"exit codes {codes}, {len(whole_answers(trial, server))} answers whole"


@case(AREA)
def running_tape(trial: Trial) -> str:
    """A tape that is being written is refused by readers and by `load --force`, and not harmed."""
    server = Stamping(trial, tokens=60, pause=0.02)
    running = load(trial, server.url, "--num-prompts", "32", "--no-summary")
    until_tokens(running, server)
    for words in (["analyze", "run.tape"], ["sql", "run.tape", "-c", "SELECT 1"]):
        trial.run(*words).expect_code(4)
    load(trial, server.url, "--force", "--num-prompts", "1").wait(10).expect_code(4)
    running.wait(20).expect_code(0)
    rows = trial.rows("run.tape", "SELECT count(*) AS n FROM requests WHERE status = 'ok'")
    expect(rows[0]["n"] == 32, f"{rows[0]['n']} of 32 are ok")
    return "refused three times with exit code 4, then all 32 requests ok"


def signalled(
    trial: Trial, numbers: list[int], gap: float, drains: bool, codes: tuple[int, ...]
) -> str:
    """Sends signals in mid-run and looks at the end and the tape."""
    server = Stamping(trial, tokens=50, pause=0.02)
    running = load(trial, server.url, "--num-prompts", "100000", "--drain", "5s", streams=8)
    until_tokens(running, server)
    time.sleep(0.5)
    for number in numbers:
        running.send(number)
        time.sleep(gap)
    ended = running.wait(15)
    ended.expect_code(*codes)
    on_tape = whole_answers(trial, server)
    expect(trial.state("run.tape") == "interrupted", f"state {trial.state('run.tape')}")
    query = (
        "SELECT count(*) AS n, sum(CASE WHEN status = 'ok' THEN 1 ELSE 0 END) AS ok FROM requests"
    )
    rows = trial.rows("run.tape", query)[0]
    if drains:
        expect(rows["ok"] == rows["n"], f"{rows['ok']} of {rows['n']} were let end")
    tokens = sum(last + 1 for last in on_tape.values())
    return f"exit {ended.code}, {rows['ok']} of {rows['n']} requests ok, {tokens} tokens whole"


INT, TERM = signal.SIGINT, signal.SIGTERM
SIGNALS = {
    "sigint-once": (
        "SIGINT lets what is in flight end, then 130 and a whole tape",
        [INT],
        0.0,
        True,
        (130,),
    ),
    "sigterm-once": (
        "SIGTERM lets what is in flight end, then 130 and a whole tape",
        [TERM],
        0.0,
        True,
        (130,),
    ),
    "sigint-twice": (
        "a second SIGINT leaves at once, with 130 and a whole tape",
        [INT] * 2,
        0.3,
        False,
        (130,),
    ),
    "signals-mixed": (
        "SIGINT, then SIGTERM leaves at once, with 130",
        [INT, TERM],
        0.3,
        False,
        (130,),
    ),
    "sigint-thrice": (
        "three SIGINT end it, and what was read is kept",
        [INT] * 3,
        0.2,
        False,
        (130, -INT),
    ),
    "sigterm-twenty": (
        "20 SIGTERM in 0.2 s end it, and what was read is kept",
        [TERM] * 20,
        0.01,
        False,
        (130, -TERM),
    ),
    "sighup": (
        "SIGHUP may end it at once; the tape is recovered",
        [signal.SIGHUP],
        0.0,
        False,
        (130, -1),
    ),
    "sigquit": (
        "SIGQUIT may end it at once; the tape is recovered",
        [signal.SIGQUIT],
        0.0,
        False,
        (130, -3),
    ),
}
each(AREA, SIGNALS, signalled)


@case(AREA)
def signal_at_the_start(trial: Trial) -> str:
    """SIGTERM in the first 150 ms leaves no tape, a whole one, or one that is recovered."""
    seen = []
    for delay in (0.0, 0.005, 0.01, 0.03, 0.08, 0.15):
        shutil.rmtree(trial.folder / "run.tape", ignore_errors=True)
        server = Stamping(trial, tokens=50, pause=0.02)
        running = load(trial, server.url, "--num-prompts", "16", "--drain", "2s")
        time.sleep(delay)
        running.send(signal.SIGTERM)
        code = running.wait(10).expect_code(130, -signal.SIGTERM).code
        if (trial.folder / "run.tape").exists():
            trial.run("sql", "run.tape", "-c", "SELECT 1").expect_code(0)
        seen.append(str(code))
    return f"exit codes {' '.join(seen)}, every tape there is can be read"


def sealing(trial: Trial, count: int) -> str:
    """Sends signals as soon as the log is turned into the tape."""
    server = full_speed(trial)
    running = load(
        trial, server.url, "--duration", "2s", "--drain", "1s", "--no-summary", streams=8
    )
    part = trial.folder / "run.tape/chunks"
    wait_until(lambda: part.exists() or not running.is_running(), 25, "the tape is sealed")
    if not running.is_running():
        return "sealed before a signal could be sent"
    for _ in range(count):
        running.send(signal.SIGINT)
        time.sleep(0.02)
    code = running.wait(30).expect_code(0, 130, 3, -signal.SIGINT).code
    return f"exit {code}, {len(whole_answers(trial, server))} answers whole"


each(
    AREA,
    {
        "sigint-while-sealing": ("SIGINT while the tape is sealed does not cost it", 1),
        "sigint-thrice-while-sealing": (
            "three SIGINT while sealing end it, and the tape is not lost",
            3,
        ),
    },
    sealing,
    seconds=60,
)


def in_the_summary(trial: Trial, number: int) -> str:
    """Waits for the whole tape, and sends a signal while the summary is made."""
    server = full_speed(trial)
    running = load(trial, server.url, "--duration", "2s", "--drain", "1s", streams=8)
    tape = trial.folder / "run.tape"

    def is_sealed() -> bool:
        return (
            trial.state("run.tape") in ("complete", "interrupted") and not (tape / "wal").exists()
        )

    wait_until(lambda: is_sealed() or not running.is_running(), 40, "the tape is sealed")
    # The log goes last; what follows is the summary.
    time.sleep(0.2)
    sent = time.monotonic()
    running.send(number)
    ended = running.wait(8)
    seconds = time.monotonic() - sent
    if "=====" in ended.out and ended.code != 130:
        return "the summary was there before the signal"
    expect(ended.code == 130, f"{seconds:.1f} s after the signal: {ended.seen()}")
    answers = len(whole_answers(trial, server))
    return f"exit 130 {seconds:.1f} s after the signal, {answers} answers whole"


each(
    AREA,
    {
        "sigint-in-the-summary": (
            "SIGINT in the summary ends it with 130; the tape stays whole",
            signal.SIGINT,
        ),
        "sigterm-in-the-summary": (
            "SIGTERM in the summary ends it with 130; the tape stays whole",
            signal.SIGTERM,
        ),
    },
    in_the_summary,
    seconds=120,
)


@case(AREA)
def stopped_and_continued(trial: Trial) -> str:
    """A client that is stopped for a second sends all, and its lateness is on the tape."""
    server = Stamping(trial, tokens=5, pause=0.001)
    running = load(trial, server.url, "--request-rate", "20", "--num-prompts", "60", streams=60)
    until_tokens(running, server)
    time.sleep(0.7)
    running.send(signal.SIGSTOP)
    time.sleep(1.0)
    running.send(signal.SIGCONT)
    running.wait(20).expect_code(0)
    query = "SELECT count(*) AS n, max(slip_ns) AS slip FROM requests WHERE status = 'ok'"
    row = trial.rows("run.tape", query)[0]
    expect(row["n"] == 60, f"{row['n']} of 60 are ok")
    expect(row["slip"] > 700_000_000, f"the greatest slip is {row['slip'] / 1e6:.0f} ms")
    return f"60 ok, slip up to {row['slip'] / 1e6:.0f} ms"


def standard_output(trial: Trial, shell: str, codes: tuple[int, ...]) -> str:
    """Runs a short load whose standard output is not a usual one."""
    server = Stamping(trial, tokens=5, pause=0.001)
    running = load(trial, server.url, "--num-prompts", "16", shell=shell)
    ended = running.wait(20).expect_code(*codes)
    rows = trial.rows("run.tape", "SELECT count(*) AS n FROM requests WHERE status = 'ok'")
    expect(rows[0]["n"] == 16 and trial.state("run.tape") == "complete", "the tape is not whole")
    return f"exit {ended.code}, tape whole"


each(
    AREA,
    {
        "stdout-full": (
            "a full standard output is exit code 4, and the tape is whole",
            "exec >/dev/full",
            (4,),
        ),
        "stdout-closed": ("closed standard output and error harm no tape", "exec >&- 2>&-", (0,)),
        "stdin-closed": (
            "closed standard streams, input too, harm no tape",
            "exec <&- >&- 2>&-",
            (0,),
        ),
        "stderr-full": ("a full standard error harms no tape", "exec 2>/dev/full", (0, 4)),
    },
    standard_output,
)


@case(AREA)
def stdout_gone(trial: Trial) -> str:
    """A reader of standard output that leaves is no error, and the tape is whole."""
    read, write = os.pipe()
    os.close(read)
    server = Stamping(trial, tokens=5, pause=0.001)
    running = load(trial, server.url, "--num-prompts", "16", stdout=write)
    os.close(write)
    running.wait(20).expect_code(0)
    expect(trial.state("run.tape") == "complete", "the tape is not whole")
    return "exit 0, tape whole"
