"""What a case is, and what it is run with: the program under bounds of time and memory."""

import contextlib
import functools
import json
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

MIB = 1 << 20

# Most memory that the program and its children may take in any case, in bytes; a case can say less.
MOST_BYTES = 2048 * MIB

# What a crash says, in place of a message. No input and no lack may lead to it.
CRASH_WORDS = (
    "panicked at",
    "this is a bug",
    "stack overflow",
    "overflowed its stack",
    "memory allocation of",
)


class Wrong(Exception):
    """What was seen is not what was expected."""


class Skipped(Exception):
    """The machine does not give what the case needs."""


@dataclass(frozen=True)
class Case:
    """One expectation."""

    area: str
    name: str
    expectation: str
    run: Callable[["Trial"], str | None]
    is_slow: bool
    seconds: float


CASES: list[Case] = []


def case(area: str, *, name: str = "", says: str = "", slow: bool = False, seconds: float = 30.0):
    """Registers a function as a case: it returns what it saw, and raises `Wrong` or `Skipped`."""

    def register(run):
        expectation = " ".join((says or run.__doc__ or "").split())
        called = name or run.__name__.replace("_", "-")
        assert expectation, f"{called} has to say what is expected"
        is_new = all((known.area, known.name) != (area, called) for known in CASES)
        assert is_new, f"{area}/{called} is there twice"
        CASES.append(Case(area, called, expectation, run, slow, seconds))
        return run

    return register


def each(area: str, named: dict[str, tuple], run: Callable, **options):
    """Registers a case for each entry of a table: its name, what is expected, and arguments."""
    for name, (says, *rest) in named.items():
        case(area, name=name, says=says, **options)(functools.partial(_with, run, rest))


def _with(run: Callable, rest: list, trial: "Trial"):
    return run(trial, *rest)


def expect(is_so: bool, seen: str) -> None:
    """Ends the case as wrong, with what was seen, unless `is_so`."""
    if not is_so:
        raise Wrong(seen)


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Ends a case that hangs, wherever it does."""

    def late(*_):
        raise Wrong(f"not ended after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def one_line(text: str, most: int = 300) -> str:
    """Text with nothing in it that would reach a terminal as anything but letters."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    shown = " ".join(shown.split())
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def raw_controls(text: str) -> list[str]:
    """The control and bidirectional characters in what was printed, but line ends and tabs."""
    return re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", text)


@dataclass
class Ended:
    """How a process ended."""

    # The exit code; below zero the signal that ended it.
    code: int
    out: str
    err: str
    # Bytes that it wrote to both, of which `out` and `err` have the first million each.
    written: int
    seconds: float
    peak_bytes: int

    def seen(self) -> str:
        """The end in a few words, for a report."""
        last = [line for line in self.err.splitlines() if line.strip()]
        errors = [line for line in last if line.startswith("error")] or last[-1:]
        said = errors[0][:200] if errors else ""
        return (
            f"exit {self.code}, {self.seconds:.1f} s, {self.peak_bytes // MIB} MiB {said}".rstrip()
        )

    def expect_code(self, *codes: int) -> "Ended":
        """Wrong where it ended otherwise, or crashed in words."""
        for words in CRASH_WORDS:
            expect(words not in self.err, f"crashed: {self.seen()} … {words}")
        expect(self.code in codes, self.seen())
        return self

    def expect_words(self, *words: str) -> "Ended":
        """Wrong where none of these stands in what it printed."""
        text = self.out + self.err
        expect(any(one in text for one in words), f"says none of {words}: {self.seen()}")
        return self


@dataclass
class Running:
    """A process that goes on; whoever started it has to end it."""

    process: subprocess.Popen
    out: Path
    err: Path
    began: float
    most_bytes: int
    peak_bytes: int = 0
    ended: Ended | None = None
    family: set[int] = field(default_factory=set)

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, number: int) -> None:
        """Sends a signal, if it still runs."""
        if self.ended is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def is_running(self) -> bool:
        """Looks at it, and keeps its memory in bounds."""
        if self.ended is None:
            self._look(0)
        return self.ended is None

    def wait(self, seconds: float) -> Ended:
        """Waits for its end; wrong where that does not come in time."""
        until = time.monotonic() + seconds
        while self.ended is None:
            left = until - time.monotonic()
            if left <= 0:
                self.kill()
                raise Wrong(f"still running after {seconds:.0f} s, {self.peak_bytes // MIB} MiB")
            self._look(min(left, 0.1))
        return self.ended

    def wait_for(self, words: str, seconds: float = 20.0) -> str:
        """Waits until a line with `words` has been printed, and returns that line."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for path in (self.out, self.err):
                # The last line may not be whole yet.
                for line in path.read_text(errors="replace").split("\n")[:-1]:
                    if words in line:
                        return line
            expect(
                self.is_running(),
                f"ended before it said {words!r}: {self.ended and self.ended.seen()}",
            )
            time.sleep(0.02)
        raise Wrong(f"did not say {words!r} in {seconds:.0f} s")

    def kill(self) -> None:
        """Ends it and its children, by their ids."""
        self._measure()
        if self.ended is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            while self.ended is None:
                self._look(1.0)
        for pid in self.family - {self.pid}:
            if is_child_still(pid, self.began):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _look(self, seconds: float) -> None:
        handle = os.pidfd_open(self.pid)
        try:
            is_over = bool(select.select([handle], [], [], seconds)[0])
        finally:
            os.close(handle)
        if is_over:
            _, status, usage = os.wait4(self.pid, 0)
            self.process.returncode = os.waitstatus_to_exitcode(status)
            # Until it has begun, a process counts what its parent has; that is no measure of it.
            if usage.ru_maxrss > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:
                self.peak_bytes = max(self.peak_bytes, usage.ru_maxrss * 1024)
            self._note()
        elif self._measure() > self.most_bytes:
            self.most_bytes = 1 << 62
            self.kill()
            raise Wrong(
                f"took {self.peak_bytes // MIB} MiB after {time.monotonic() - self.began:.1f} s"
            )

    def _measure(self) -> int:
        """The memory of it and its children now, in bytes."""
        sizes = [resident(pid) for pid in descendants(self.pid, self.family)]
        self.peak_bytes = max(self.peak_bytes, sum(sizes))
        return sum(sizes)

    def _note(self) -> None:
        sizes = [path.stat().st_size for path in (self.out, self.err)]
        texts = []
        for path in (self.out, self.err):
            with path.open("rb") as file:
                texts.append(file.read(MIB).decode(errors="replace"))
        seconds = time.monotonic() - self.began
        self.ended = Ended(self.process.returncode, *texts, sum(sizes), seconds, self.peak_bytes)


def descendants(pid: int, seen: set[int]) -> list[int]:
    """A process and all that it has started, which are noted in `seen`."""
    found = [pid]
    for parent in found:
        seen.add(parent)
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{parent}/task"):
                children = Path(f"/proc/{parent}/task/{task}/children").read_text().split()
                found.extend(int(child) for child in children)
    return found


def is_child_still(pid: int, began: float) -> bool:
    """True where this id is still of a process that began after `began`, in seconds of uptime."""
    try:
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    except OSError:
        return False
    # Ids are used again only after all others; the time of the start tells them apart anyway.
    return ticks / os.sysconf("SC_CLK_TCK") >= began - 1.0


def resident(pid: int) -> int:
    """Memory that a process has now, in bytes."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


class Trial:
    """One case under way: its folder, its processes, and what closes with it."""

    def __init__(self, program: str, folder: Path):
        self.program, self.folder = program, folder
        self.running: list[Running] = []
        self.closing = contextlib.ExitStack()
        self.home = folder / "home"
        self.home.mkdir()

    def start(
        self,
        *words: str,
        program: list[str] | None = None,
        shell: str = "",
        env: dict[str, str] | None = None,
        most_bytes: int = MOST_BYTES,
        stdin: int = subprocess.DEVNULL,
        stdout=None,
    ) -> Running:
        """Starts the program, or another one; with `shell`, lines of `sh` before `exec "$@"`."""
        command = [*(program or [self.program]), *map(str, words)]
        if shell:
            command = ["sh", "-c", f'{shell}\nexec "$@"', "sh", *command]
        number = len(self.running)
        out, err = self.folder / f"{number}.out", self.folder / f"{number}.err"
        plain = {key: os.environ[key] for key in ("PATH", "LANG", "TZ") if key in os.environ}
        with out.open("wb") as to_out, err.open("wb") as to_err:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=plain | {"HOME": str(self.home)} | (env or {}),
                stdin=stdin,
                stdout=to_out if stdout is None else stdout,
                stderr=to_err,
            )
        running = Running(process, out, err, time.monotonic(), most_bytes)
        self.running.append(running)
        return running

    def run(self, *words: str, seconds: float = 20.0, **options) -> Ended:
        """Runs the program to its end; wrong where that does not come in time."""
        return self.start(*words, **options).wait(seconds)

    def rows(self, tape: str, query: str, seconds: float = 30.0) -> list[dict]:
        """What a tape answers to a question in SQL."""
        ended = self.run("sql", tape, "--format", "json", "-c", query, seconds=seconds)
        expect(ended.code == 0, f"`{tape}` can't be read: {ended.seen()}")
        return json.loads(ended.out)

    def state(self, tape: str) -> str:
        """The state that the manifest of a tape has, or `none` where there is no manifest."""
        try:
            return json.loads((self.folder / tape / "manifest.json").read_text())["state"]
        except OSError:
            return "none"

    def close(self) -> None:
        """Ends all that the case has started."""
        for running in self.running:
            running.kill()
            for stream in (running.process.stdin, running.process.stdout):
                if stream:
                    stream.close()
        self.closing.close()

    @staticmethod
    def remove(folder: Path) -> None:
        """Removes a folder, also where a case has taken the right to write from it."""

        def writable(remove, path, _):
            os.chmod(Path(path).parent, 0o700)
            with contextlib.suppress(OSError):
                remove(path)

        shutil.rmtree(folder, onerror=writable)


def wait_until(holds: Callable[[], bool], seconds: float, what: str) -> None:
    """Waits until something holds; wrong where it does not in time."""
    until = time.monotonic() + seconds
    while not holds():
        expect(time.monotonic() < until, f"not in {seconds:.0f} s: {what}")
        time.sleep(0.005)


def namespace(trial: Trial, kind: str) -> list[str]:
    """The command that runs another in namespaces of its own, `m` for mounts, `n` for network."""
    if shutil.which("unshare"):
        words = ["unshare", f"-{'' if os.geteuid() == 0 else 'r'}{kind}"]
        if trial.run("true", program=words).code == 0:
            return words
    raise Skipped("needs a namespace of its own (`unshare`), which this machine does not give")
