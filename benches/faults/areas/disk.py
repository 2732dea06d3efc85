"""Disks that are full, gone or read-only, and the limits of the system."""

import shutil
import time

from cases import Running, Skipped, Trial, case, each, expect, namespace
from servers import Stamping

from areas.crash import load, until_tokens, whole_answers

AREA = "disk"


def on_a_small_disk(trial: Trial, script: str, size: str = "8m", seconds: float = 40.0):
    """Runs lines of `sh`, `$1` being the program, in `disk`: a small file system of its own."""
    (trial.folder / "disk").mkdir()
    lines = f"mount -t tmpfs -o size={size} tmpfs disk && cd disk || exit 99\n{script}"
    words = [*namespace(trial, "m"), "sh", "-c", lines, "sh", trial.program]
    return trial.run(program=words, seconds=seconds)


def words_of_load(url: str, *more: str) -> str:
    """The load as words for `sh`."""
    words = ["--backend openai-chat --model m --random-input-len 1 --self-check 0s --no-summary"]
    return " ".join(['"$1" load --base-url', url, *words, *more])


@case(AREA, seconds=60)
def disk_fills(trial: Trial) -> str:
    """A disk that fills ends the run with 4 and the file's name; what was taken is recovered
    elsewhere, and a recovery on the full disk keeps the log."""
    server = Stamping(trial, tokens=50_000, pause=0.0, per_write=20)
    words = "--max-concurrency 8 --num-prompts 400 --keep text --out run.tape"
    ended = on_a_small_disk(
        trial,
        f"{words_of_load(server.url, words)}\necho load $?\n"
        '"$1" sql run.tape -c "SELECT 1" >/dev/null\necho recovery $?\n'
        "cp -r run.tape ..",
    )
    ended.expect_code(0)
    expect("load 4" in ended.out and "recovery 4" in ended.out, f"{ended.out} {ended.seen()}")
    ended.expect_words("run.tape")
    tokens = sum(last + 1 for last in whole_answers(trial, server).values())
    expect(tokens > 0, "no token is on the copied tape")
    return f"exit 4 twice, then {tokens} tokens recovered on another disk"


@case(AREA)
def disk_full_at_the_start(trial: Trial) -> str:
    """After a full disk at the start the same name serves again, with `--force` at most."""
    server = Stamping(trial, tokens=5, pause=0.0)
    words = words_of_load(server.url, "--num-prompts 4 --out run.tape")
    ended = on_a_small_disk(
        trial,
        f"head -c 2m /dev/zero >filler\n{words}\necho load $?\n"
        f"rm filler\n{words} --force\necho again $?",
        "1m",
    )
    ended.expect_code(0)
    expect("load 4" in ended.out, f"{ended.out} {ended.seen()}")
    expect("again 0" in ended.out, f"can't be replaced: {ended.out} {ended.seen()}")
    return "exit 4, then replaced"


@case(AREA)
def half_made_tape(trial: Trial) -> str:
    """A tape that was never finished being made, without a manifest, is replaced with `--force`."""
    (trial.folder / "run.tape/wal").mkdir(parents=True)
    (trial.folder / "run.tape/wal/lock").touch()
    (trial.folder / "run.tape/manifest.json.tmp").write_text('{"schema_version": 3, ')
    server = Stamping(trial, tokens=5, pause=0.0)
    load(trial, server.url, "--num-prompts", "4").wait(10).expect_code(4)
    load(trial, server.url, "--num-prompts", "4", "--force").wait(20).expect_code(0)
    return "refused without `--force`, replaced with it"


@case(AREA)
def force_on_other_folders(trial: Trial) -> str:
    """`--force` replaces tapes: a folder with anything else in it is refused and kept."""
    (trial.folder / "run.tape").mkdir()
    (trial.folder / "run.tape/thesis.txt").write_text("words")
    server = Stamping(trial, tokens=5, pause=0.0)
    load(trial, server.url, "--num-prompts", "4", "--force").wait(10).expect_code(4)
    expect((trial.folder / "run.tape/thesis.txt").exists(), "the file is gone")
    return "refused, file kept"


def made(trial: Trial) -> None:
    """Makes a small whole tape, `run.tape`."""
    server = Stamping(trial, tokens=5, pause=0.0)
    load(trial, server.url, "--num-prompts", "16", "--no-summary").wait(20).expect_code(0)


@case(AREA)
def reports_to_a_full_disk(trial: Trial) -> str:
    """Reports that can't be written are exit code 4 and leave no empty file."""
    made(trial)
    ended = on_a_small_disk(
        trial,
        "head -c 2m /dev/zero >filler\n"
        '"$1" analyze ../run.tape --html r.html --json r.json --markdown r.md\n'
        "echo analyze $?\nls -s",
        "1m",
    )
    expect("analyze 4" in ended.out, f"{ended.out} {ended.seen()}")
    left = [name for name in ("r.html", "r.json", "r.md") if name in ended.out]
    expect(not left, f"left behind: {', '.join(left)}")
    return "exit 4, nothing left"


@case(AREA)
def old_report_is_kept(trial: Trial) -> str:
    """A report that fails with `--force` keeps the old one, and leaves no half of the others."""
    made(trial)
    (trial.folder / "r.html").write_text("old")
    words = ["--force", "--html", "r.html", "--json", "none/r.json"]
    ended = trial.run("analyze", "run.tape", *words).expect_code(2, 4)
    expect((trial.folder / "r.html").read_text() == "old", "the old report is gone")
    return f"exit {ended.code}, old report kept"


@case(AREA)
def read_only_folder(trial: Trial) -> str:
    """In a read-only place a load is refused, a whole tape is read, and a crashed one is refused
    with its reason."""
    made(trial)
    shutil.copytree(trial.folder / "run.tape", trial.folder / "whole.tape")
    shutil.rmtree(trial.folder / "run.tape")
    server = Stamping(trial, tokens=500, pause=0.01)
    running = load(trial, server.url, "--num-prompts", "8")
    until_tokens(running, server)
    time.sleep(0.5)
    running.kill()
    ended = on_a_small_disk(
        trial,
        "cp -r ../whole.tape ../run.tape . && cd .. || exit 99\n"
        "mount -o remount,ro disk && cd disk || exit 99\n"
        f"{words_of_load(server.url, '--num-prompts 4 --out new.tape')}\necho load $?\n"
        '"$1" sql whole.tape -c "SELECT 1" >/dev/null\necho whole $?\n'
        '"$1" sql run.tape -c "SELECT 1"\necho crashed $?',
    )
    ended.expect_code(0).expect_words("load 4")
    expect("whole 0" in ended.out and "crashed 4" in ended.out, f"{ended.out} {ended.seen()}")
    return "load 4, whole tape 0, crashed tape 4"


def while_running(trial: Trial, duration: str = "20s") -> tuple[Stamping, Running]:
    """A load in mid-run, of 20 s unless it is said otherwise."""
    server = Stamping(trial, tokens=50, pause=0.02)
    running = load(trial, server.url, "--duration", duration, "--drain", "1s", "--no-summary")
    until_tokens(running, server)
    time.sleep(0.8)
    return server, running


def vanishes(trial: Trial, what: str) -> str:
    """Removes the tape or its log in mid-run."""
    _, running = while_running(trial)
    removed = time.monotonic()
    shutil.rmtree(trial.folder / what, ignore_errors=True)
    try:
        ended = running.wait(6)
    finally:
        shutil.rmtree(trial.folder / what, ignore_errors=True)
    ended.expect_code(4)
    seconds = time.monotonic() - removed
    if (trial.folder / "run.tape/manifest.json").exists():
        reader = trial.run("analyze", "run.tape")
        expect(
            "no request succeeded" not in reader.err or reader.code == 4,
            "passes for a run without requests",
        )
    return f"exit 4 after {seconds:.1f} s"


each(
    AREA,
    {
        "log-removed": (
            "a log that vanishes in mid-run is noticed within seconds: 4",
            "run.tape/wal",
        ),
        "tape-removed": (
            "a tape that vanishes in mid-run is noticed within seconds: 4",
            "run.tape",
        ),
    },
    vanishes,
)


@case(AREA)
def tape_renamed(trial: Trial) -> str:
    """A tape that is renamed in mid-run is finished where it went, and has all that was taken."""
    server, running = while_running(trial, "3s")
    (trial.folder / "run.tape").rename(trial.folder / "moved.tape")
    ended = running.wait(15).expect_code(0, 4)
    (trial.folder / "moved.tape").rename(trial.folder / "run.tape")
    tokens = sum(last + 1 for last in whole_answers(trial, server).values())
    expect(tokens > 16, f"{tokens} tokens")
    return f"exit {ended.code}, {tokens} tokens"


@case(AREA)
def running_without_a_log(trial: Trial) -> str:
    """A manifest that says `running` without a log is no empty run: refused, or said."""
    _, running = while_running(trial)
    running.kill()
    shutil.rmtree(trial.folder / "run.tape/wal")
    expect(trial.state("run.tape") == "running", f"state {trial.state('run.tape')}")
    ended = trial.run("analyze", "run.tape")
    is_said = ended.code == 4 or "log" in ended.err
    expect(is_said, f"passes for an empty run: {ended.seen()}")
    return ended.seen()


def file_size_limit(trial: Trial, shell: str) -> str:
    """Writes files under a limit on their size."""
    server = Stamping(trial, tokens=20_000, pause=0.0, per_write=20)
    words = ["--num-prompts", "200", "--no-summary"]
    ended = load(trial, server.url, *words, streams=8, shell=shell).wait(25)
    ended.expect_code(4, -25)
    tokens = sum(last + 1 for last in whole_answers(trial, server).values())
    expect(tokens > 0, "no token is on the tape")
    return f"exit {ended.code}, {tokens} tokens recovered"


each(
    AREA,
    {
        "file-size-limit": (
            "a file that may grow no more is exit code 4; the tape is recovered",
            "trap '' XFSZ; ulimit -f 2048",
        ),
        "file-size-signal": (
            "a limit that ends by signal leaves a tape that is recovered",
            "ulimit -f 2048",
        ),
    },
    file_size_limit,
    seconds=60,
)


def few_files(trial: Trial, most: int, streams: int) -> str:
    """Loads with few open files."""
    server = Stamping(trial, tokens=5, pause=0.0)
    running = load(
        trial, server.url, "--num-prompts", "600", shell=f"ulimit -n {most}", streams=streams
    )
    ended = running.wait(20).expect_code(0, 4)
    if ended.code == 0:
        rows = trial.rows("run.tape", "SELECT count(*) AS n FROM requests WHERE status <> 'ok'")
        expect(rows[0]["n"] == 0, f"exit 0, but {rows[0]['n']} failed")
    return ended.seen()


each(
    AREA,
    {
        f"open-files-{most}": (
            "with too few open files a message and exit code 4, or all requests",
            most,
            500,
        )
        for most in (256, 64, 20, 8, 4)
    },
    few_files,
)


def analyze_with_few_files(trial: Trial, most: int) -> str:
    """Analyzes with few open files."""
    made(trial)
    return trial.run("analyze", "run.tape", shell=f"ulimit -n {most}").expect_code(0, 4).seen()


each(
    AREA,
    {
        f"analyze-open-files-{most}": (
            "with few open files an answer, or a message and exit code 4",
            most,
        )
        for most in (30, 12, 8)
    },
    analyze_with_few_files,
)


def short_of_memory(trial: Trial, verb: str, kilobytes: int) -> str:
    """Runs with little address space."""
    shell = f"ulimit -v {kilobytes}"
    if trial.run("--version", shell=shell).code != 0:
        # The kernel or the dynamic linker ends it before it has begun.
        raise Skipped(f"{kilobytes} KiB are too little for the program to be loaded")
    if verb == "load":
        server = Stamping(trial, tokens=5, pause=0.0)
        ended = load(trial, server.url, "--num-prompts", "64", shell=shell).wait(20)
    else:
        made(trial)
        words = {
            "sql": ["sql", "run.tape", "-c", "SELECT * FROM requests"],
            "analyze": ["analyze", "run.tape"],
        }
        ended = trial.run(*words[verb], shell=shell)
    ended.expect_code(0, 4)
    if verb == "load" and (trial.folder / "run.tape").exists():
        trial.run("sql", "run.tape", "-c", "SELECT 1").expect_code(0)
    return ended.seen()


each(
    AREA,
    {
        f"{verb}-address-space-{size // 1000}": (
            "short of address space: a message and exit code 4, no segfault, abort or panic",
            verb,
            size,
        )
        for verb in ("load", "analyze", "sql")
        for size in (100_000, 200_000, 300_000, 500_000, 1_000_000)
    },
    short_of_memory,
)


@case(AREA)
def no_local_port(trial: Trial) -> str:
    """Without a local port for a connection, rows say so and name the remedy."""
    words = namespace(trial, "n")
    if not shutil.which("ip"):
        raise Skipped("needs `ip` to set a loopback of its own up")
    script = (
        "range=/proc/sys/net/ipv4/ip_local_port_range\n"
        'ip link set lo up && echo "40000 40015" >$range || exit 99\n'
        '"$1" simulate --port 8000 --bare --stamp --stream-rate 20 >/dev/null 2>&1 &\n'
        "server=$!\nsleep 1\n"
        f"{words_of_load('http://127.0.0.1:8000', '--max-concurrency 64 --num-prompts 64')}"
        " --out run.tape\n"
        "code=$?\nkill $server\nexit $code"
    )
    ended = trial.run(program=[*words, "sh", "-c", script, "sh", trial.program])
    if ended.code == 99:
        raise Skipped("the range of local ports can't be set")
    ended.expect_code(0, 3)
    query = "SELECT count(*) AS n FROM requests WHERE error_message LIKE '%local port%'"
    rows = trial.rows("run.tape", query)
    expect(rows[0]["n"] > 0, f"no row says so: {ended.seen()}")
    return f"{rows[0]['n']} rows say that no local port is left"
