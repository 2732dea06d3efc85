"""A tape of somebody else's: opening it writes nothing outside it, follows no link out of it, waits
for nothing, and shows nothing raw."""

import json
import os
import re
import shutil
import socket
import time
from pathlib import Path

from cases import MIB, Trial, case, each, expect, raw_controls
from servers import Stamping, ask, client_of

from areas.crash import load, until_tokens

AREA = "tape"

# Longest that opening an odd tape may take, in seconds, and most memory in bytes.
SECONDS = 15.0
TAPE_BYTES = 600 * MIB


def made(trial: Trial, is_crashed: bool) -> Path:
    """Makes `run.tape`, a whole one or that of a killed run."""
    server = Stamping(trial, tokens=20, pause=0.01 if is_crashed else 0.0)
    prompts = "100000" if is_crashed else "16"
    running = load(trial, server.url, "--num-prompts", prompts, "--no-summary")
    if is_crashed:
        until_tokens(running, server)
        time.sleep(0.5)
        running.kill()
    else:
        running.wait(20).expect_code(0)
    return trial.folder / "run.tape"


def contents(folder: Path) -> dict[str, bytes | str]:
    """All that is in a folder: files with their bytes, links with where they point."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path)] = f"link to {os.readlink(path)}"
        elif path.is_file():
            found[str(path)] = path.read_bytes()
        else:
            found[str(path)] = "folder"
    return found


def opened(trial: Trial, verb: str, tape: str = "run.tape") -> str:
    """Opens a tape by a verb, which may refuse it. Returns how that ended."""
    if verb == "force":
        server = Stamping(trial, tokens=5, pause=0.0)
        words = [*client_of(server.url), "--no-summary"]
        words += [
            "--num-prompts",
            "4",
            "--random-input-len",
            "1",
            "--self-check",
            "0s",
            "--force",
            "--out",
            tape,
        ]
        ended = trial.run("load", *words, seconds=SECONDS, most_bytes=TAPE_BYTES)
    elif verb == "view":
        running = trial.start("view", tape, most_bytes=TAPE_BYTES)
        began = time.monotonic()
        while (
            running.is_running()
            and "http://" not in running.out.read_text() + running.err.read_text()
        ):
            expect(time.monotonic() - began < SECONDS, "`view` neither serves nor ends")
            time.sleep(0.02)
        if not running.is_running():
            return running.wait(1).expect_code(2, 3, 4).seen()
        address = running.wait_for("http://").split("http://")[1].split()[0]
        host, path = address.split("/", 1)
        status, _ = ask(
            int(host.split(":")[1]),
            f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n",
            SECONDS,
        )
        running.send(2)
        running.wait(5)
        return f"page {status}"
    else:
        words = {"sql": ["-c", "SELECT count(*) FROM chunks"], "analyze": []}[verb]
        ended = trial.run(verb, tape, *words, seconds=SECONDS, most_bytes=TAPE_BYTES)
    ended.expect_code(0, 2, 3, 4)
    expect(not raw_controls(ended.out + ended.err), "control characters on the terminal")
    return ended.seen()


def writes_nothing_outside(trial: Trial, is_crashed: bool, plant, verb: str) -> str:
    """Plants something in a tape, opens the tape, and looks at what is outside it."""
    tape = made(trial, is_crashed)
    outside = trial.folder / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "folder/own.txt").write_text("precious")
    (outside / "victim").write_text("precious")
    plant(tape, outside)
    before = contents(outside)
    seen = opened(trial, verb)
    after = contents(outside)
    changed = [path for path in {**before, **after} if before.get(path) != after.get(path)]
    expect(
        not changed,
        f"changed outside: {[os.path.relpath(path, outside) for path in changed]}; {seen}",
    )
    return seen


def link(at: str, to: str, *, hard: bool = False):
    """Puts a link in a tape to something outside, in place of what is there."""

    def plant(tape: Path, outside: Path) -> None:
        path = tape / at
        path.parent.mkdir(exist_ok=True)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        if hard:
            os.link(outside / to, path)
        else:
            path.symlink_to(outside / to)

    return plant


def moved_out(at: str, *, hard: bool = False):
    """Moves a part of a tape outside, and leaves a link to it."""

    def plant(tape: Path, outside: Path) -> None:
        away = outside / at.replace("/", "-")
        (tape / at).rename(away)
        if hard:
            os.link(away, tape / at)
        else:
            (tape / at).symlink_to(away)

    return plant


def first_of(plant, folder: str, pattern: str, **options):
    """The same for the first file that fits a pattern, whose name depends on the run."""

    def planted(tape: Path, outside: Path) -> None:
        name = sorted((tape / folder).glob(pattern))[0].name
        plant(f"{folder}/{name}", **options)(tape, outside)

    return planted


KEPT = "nothing outside the tape is written, removed or emptied"
LINKS = {
    "lock": (True, link("wal/lock", "victim")),
    "lock-of-a-whole-tape": (False, link("wal/lock", "victim")),
    "lock-to-nothing": (True, link("wal/lock", "new")),
    "lock-hard": (True, link("wal/lock", "victim", hard=True)),
    "manifest-tmp": (True, link("manifest.json.tmp", "victim")),
    "manifest-tmp-to-nothing": (True, link("manifest.json.tmp", "new")),
    "manifest-tmp-hard": (True, link("manifest.json.tmp", "victim", hard=True)),
    "manifest": (True, moved_out("manifest.json")),
    "log": (True, link("wal", "folder")),
    "log-of-a-whole-tape": (False, link("wal", "folder")),
    "log-moved-out": (True, moved_out("wal")),
    "log-to-the-parent": (False, lambda tape, outside: (tape / "wal").symlink_to("..")),
    "log-segment": (True, first_of(moved_out, "wal", "chunks-*")),
    "log-segment-hard": (True, first_of(moved_out, "wal", "chunks-*", hard=True)),
    "chunks": (True, link("chunks", "folder")),
    "requests": (True, link("requests", "folder")),
    "probes": (True, link("probes", "folder")),
    "part": (True, link("chunks/part-00000.parquet", "victim")),
    "part-tmp": (True, link("chunks/part-00000.parquet.tmp", "victim")),
    "part-tmp-hard": (True, link("chunks/part-00000.parquet.tmp", "victim", hard=True)),
    "part-of-a-whole-tape": (False, link("requests/part-00000.parquet", "victim")),
    "parts-of-a-whole-tape": (False, link("requests", "folder")),
}
for name, (is_crashed, plant) in LINKS.items():
    verbs = ["sql", "force"] if "whole" not in name else ["sql", "analyze", "view", "force"]
    table = {f"link-{name}-{verb}": (KEPT, is_crashed, plant, verb) for verb in verbs}
    each(AREA, table, writes_nothing_outside, seconds=40)


@case(AREA)
def tape_is_a_link(trial: Trial) -> str:
    """`load --force` on a link to a tape writes nothing beside that tape and its own place."""
    tape = made(trial, False)
    real = trial.folder / "outside"
    real.mkdir()
    tape.rename(real / "real.tape")
    (real / "own.txt").write_text("precious")
    tape.symlink_to(real / "real.tape")
    seen = opened(trial, "force")
    names = sorted(path.name for path in real.iterdir())
    expect(
        (real / "own.txt").read_text() == "precious" and set(names) <= {"own.txt", "real.tape"},
        f"{names}",
    )
    return seen


def fifo(at: str):
    return lambda tape: (ready(tape / at), os.mkfifo(tape / at))


def device(at: str, name: str):
    return lambda tape: (ready(tape / at), (tape / at).symlink_to(name))


def unix_socket(at: str):
    def plant(tape: Path) -> None:
        ready(tape / at)
        # Paths of sockets are short.
        short = Path(tape.parent / "s")
        with socket.socket(socket.AF_UNIX) as own:
            own.bind(os.path.relpath(short))
        short.rename(tape / at)

    return plant


def ready(path: Path) -> None:
    """Makes room for something at a path."""
    path.parent.mkdir(exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def no_plain_file(trial: Trial, is_crashed: bool, plant) -> str:
    """Opens a tape with something in it that is neither file nor folder."""
    plant(made(trial, is_crashed))
    return opened(trial, "sql")


ENDS = "what is no plain file holds nothing up: the tape is opened or refused in seconds"
PART, SEGMENT = "requests/part-00000.parquet", "wal/chunks-00000.arrows"
NO_FILES = {
    "fifo-lock": (ENDS, True, fifo("wal/lock")),
    "fifo-lock-of-a-whole-tape": (ENDS, False, fifo("wal/lock")),
    "fifo-part": (ENDS, False, fifo(PART)),
    "fifo-manifest": (ENDS, False, fifo("manifest.json")),
    "fifo-manifest-tmp": (ENDS, True, fifo("manifest.json.tmp")),
    "fifo-segment": (ENDS, True, fifo(SEGMENT)),
    "fifo-log": (ENDS, True, fifo("wal")),
    "fifo-table": (ENDS, False, fifo("requests")),
    "fifo-extra-part": (ENDS, False, fifo("requests/part-00001.parquet")),
    "socket-lock": (ENDS, True, unix_socket("wal/lock")),
    "socket-manifest": (ENDS, False, unix_socket("manifest.json")),
    "socket-part": (ENDS, False, unix_socket(PART)),
    "device-zero-manifest": (ENDS, False, device("manifest.json", "/dev/zero")),
    "device-zero-part": (ENDS, False, device(PART, "/dev/zero")),
    "device-zero-segment": (ENDS, True, device(SEGMENT, "/dev/zero")),
    "device-full-lock": (ENDS, True, device("wal/lock", "/dev/full")),
    "device-full-manifest-tmp": (ENDS, True, device("manifest.json.tmp", "/dev/full")),
    "link-to-itself": (ENDS, False, device("manifest.json", "manifest.json")),
    "folder-as-lock": (
        ENDS,
        True,
        lambda tape: (ready(tape / "wal/lock"), (tape / "wal/lock").mkdir()),
    ),
    "folder-as-part": (ENDS, False, lambda tape: (ready(tape / PART), (tape / PART).mkdir())),
}
each(AREA, NO_FILES, no_plain_file, seconds=60)


def folder_name(trial: Trial, name: str) -> str:
    """Writes a tape under an odd name, and reads it again."""
    opened(trial, "force", f"./{name}")
    if not (trial.folder / name).exists():
        return "refused when it was to be written"
    ended = trial.run("sql", f"./{name}", "-c", "SELECT run FROM runs")
    expect(not raw_controls(ended.out + ended.err), "control characters on the terminal")
    ended.expect_code(0)
    return ended.seen()


NAMED = (
    "a tape that can be written under a name can be read under it, and the name is shown as text"
)
NAMES = {
    "line-end": "new\nline.tape",
    "escape": "\x1b[2Jx.tape",
    "bidirectional": "\u202egnp.tape",
    "c1-control": "\x9b31mx.tape",
    "quotes": "a'b\"c.tape",
    "markup": "<script>alert(1)<.tape",
    "flag": "-x.tape",
    "glob": "a?#*[.tape",
    "percent": "a%2e%2e%00.tape",
    "letters-240": "a" * 235 + ".tape",
    "not-ascii": "磁带 é.tape",
}
each(AREA, {f"name-{key}": (NAMED, name) for key, name in NAMES.items()}, folder_name)


def manifest(trial: Trial, edit) -> str:
    """Opens a whole tape whose manifest was changed."""
    tape = made(trial, False)
    path = tape / "manifest.json"
    kept = json.loads(path.read_text())
    changed = edit(kept)
    path.write_text(changed if isinstance(changed, str) else json.dumps(kept))
    words = ["--html", "r.html", "--markdown", "r.md"]
    ended = trial.run("analyze", "run.tape", *words, seconds=SECONDS, most_bytes=TAPE_BYTES)
    ended.expect_code(0, 2, 3, 4)
    texts = {"the terminal": ended.out + ended.err}
    for name in ("r.html", "r.md"):
        if (trial.folder / name).exists():
            # What Markdown has in a code span is text.
            texts[name] = re.sub("`[^`]*`", "", (trial.folder / name).read_text())
    for name, text in texts.items():
        expect(not raw_controls(text), f"control characters in {name}")
    expect(
        all("<script>alert" not in text for name, text in texts.items() if name[:2] == "r."),
        "markup in a report",
    )
    return ended.seen()


def at(path: str, value):
    """Sets one value of a manifest, by the path to it."""

    def edit(kept: dict) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            kept = kept[parent]
        kept[last] = value

    return edit


ODD = "read or refused in seconds and bounded memory, without a raw control character or markup"
MARKUP = "<script>alert(1)</script>\x1b[2J\u202e\x9b"
STEP = {"step": 0, "labels": {}, "from_ns": 0, "to_ns": 1}
MANIFESTS = {
    "steps-100000": at("steps", [STEP] * 100_000),
    "steps-named": at("steps", [STEP | {"step": n, "labels": {"a": str(n)}} for n in range(2_000)]),
    "plan-of-20-MB": at("plan.command", "x" * 20_000_000),
    "plan-of-many-keys": at("plan.extra_body", {str(n): n for n in range(300_000)}),
    "labels-100000": at("labels", {f"a{n}": str(n) for n in range(100_000)}),
    "label-of-10-MB": at("labels", {"a": "x" * 10_000_000}),
    "markup-label": at("labels", {MARKUP: MARKUP}),
    "markup-host": at("host.name", MARKUP),
    "markup-target": at("target", MARKUP),
    "markup-command": at("plan.command", MARKUP),
    "markup-run-id": at("run_id", MARKUP),
    "markup-bounds": at("bounds_hit", {MARKUP: 3}),
    "markup-unread-texts": at("unread_texts", {MARKUP: 3}),
    "markup-recovered": at("recovered", MARKUP),
    "counts-2^64": at("counts.chunks", 2**64 - 1),
    "counts-negative": at("counts.chunks", -1),
    "anchors-far": at("clock_anchors", [{"monotonic_ns": -(2**63), "utc_ns": 2**63 - 1}] * 2),
    "anchors-none": at("clock_anchors", []),
    "anchors-100000": at(
        "clock_anchors", [{"monotonic_ns": n, "utc_ns": n} for n in range(100_000)]
    ),
    "version-0": at("schema_version", 0),
    "version-far": at("schema_version", 2**32 - 1),
    "state-unknown": at("state", MARKUP),
    "state-running": at("state", "running"),
    "plan-of-wrong-types": at("plan", {"limits": 3, "dataset": [], "backend": {}}),
    "empty": lambda kept: "",
    "byte-order-mark": lambda kept: "\ufeff" + json.dumps(kept),
    "nul-bytes": lambda kept: "\x00" * 1_000,
    "depth-100000": lambda kept: '{"plan":' * 100_000 + "1" + "}" * 100_000,
    "list": lambda kept: "[]",
    "key-twice": lambda kept: json.dumps(kept)[:-1] + ',"state":"running"}',
}
each(
    AREA,
    {f"manifest-{name}": (ODD, edit) for name, edit in MANIFESTS.items()},
    manifest,
    seconds=60,
)


@case(AREA)
def csv_folder_with_links(trial: Trial) -> str:
    """`analyze --csv --force` into a folder with links writes no file outside it."""
    made(trial, False)
    trial.run("analyze", "run.tape", "--csv", "tables").expect_code(0)
    names = sorted(path.name for path in (trial.folder / "tables").iterdir())
    (trial.folder / "victim").write_text("precious")
    for name in names:
        (trial.folder / "tables" / name).unlink()
        (trial.folder / "tables" / name).symlink_to(trial.folder / "victim")
    ended = trial.run("analyze", "run.tape", "--csv", "tables", "--force")
    expect(
        (trial.folder / "victim").read_text() == "precious",
        f"overwritten through a link; {ended.seen()}",
    )
    return ended.seen()


@case(AREA)
def csv_folder_is_not_emptied(trial: Trial) -> str:
    """`analyze --csv --force` replaces its tables and leaves a stranger's files alone."""
    made(trial, False)
    (trial.folder / "tables").mkdir()
    (trial.folder / "tables/thesis.txt").write_text("precious")
    ended = trial.run("analyze", "run.tape", "--csv", "tables", "--force").expect_code(0, 4)
    expect((trial.folder / "tables/thesis.txt").exists(), "the stranger's file is gone")
    return ended.seen()
