"""The processes of `peers.py`: the servers that stamp, the client's process tree, and its costs.

A process that a client has left behind, or that has left its group, still counts as the client's,
and ends with it. Nothing here outlives the program, whatever ends that: a server ends when its
stdin closes. Needs Linux, and Python's standard library alone.
"""

import ctypes
import math
import os
import pathlib
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from peers_clients import ENVIRONMENT, Failure

# The server's time to the first token of each stream.
TTFT_MS = 50

# How often the memory of a client's processes is looked at, and how often new ones are looked for,
# in seconds. Looking takes milliseconds, by which a server that shares the core would send late.
GLANCE_S = 0.1
SEARCH_S = 1

# Time that processes which a client has left behind may take to end, in seconds.
LEFT_BEHIND_PATIENCE_S = 3


# A client, and what it cost


@dataclass
class Costs:
    """What all processes of a client took together."""

    cpu_s: float
    wall_s: float
    peak_rss_bytes: int


def adopt_orphans():
    """Makes processes whose parents have died children of this one, so that it sees their costs."""
    pr_set_child_subreaper = 36
    if ctypes.CDLL(None, use_errno=True).prctl(pr_set_child_subreaper, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "could not adopt the clients' orphans")


def descendants(but_not):
    """Returns the processes that stem from this one, but not from one child of it, nor that."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = pathlib.Path("/proc", entry, "stat").read_text()
            except OSError:
                continue
            # The name stands in parentheses and may hold anything.
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry))
    found, next_up = [], [os.getpid()]
    while next_up:
        born = [child for child in children.get(next_up.pop(), []) if child != but_not]
        found.extend(born)
        next_up.extend(born)
    return found


def resident_bytes(process):
    """Returns what a process has resident, and the most that it ever had; 0 where it is gone."""
    try:
        status = pathlib.Path("/proc", str(process), "status").read_text()
    except OSError:
        return 0, 0
    kib = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", status, re.MULTILINE))
    return int(kib.get("VmRSS", 0)) * 1024, int(kib.get("VmHWM", 0)) * 1024


class Watch:
    """The processes of one client, from their start until the last of them is buried."""

    def __init__(self, process, server_pid):
        self.process = process
        self.server_pid = server_pid
        self.cpu_s = 0.0
        self.peak_rss_bytes = 0

    def until_end(self, timeout_s):
        """Waits for the client to end; returns its status, or None when that takes too long."""
        started = now = time.monotonic()
        searched, processes = -math.inf, []
        while not self.bury(self.process.pid):
            if now - started > timeout_s:
                return None
            if now - searched > SEARCH_S:
                searched, processes = now, descendants(self.server_pid)
            self.glance(processes)
            time.sleep(GLANCE_S)
            now = time.monotonic()
        return self.process.returncode

    def glance(self, processes):
        memory = [resident_bytes(pid) for pid in processes]
        # Pages that processes share count for each. One process alone may have had its peak between
        # two glances; that of several can't be told from theirs.
        together = sum(now for now, _ in memory)
        alone = max((most for _, most in memory), default=0)
        self.peak_rss_bytes = max(self.peak_rss_bytes, together, alone)

    def bury(self, pid):
        """Takes the CPU time of a child that has ended, and of all that it has buried itself."""
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if found == 0:
            return False
        self.cpu_s += usage.ru_utime + usage.ru_stime
        if pid == self.process.pid:
            self.process.returncode = os.waitstatus_to_exitcode(status)
        return True

    def end(self):
        """Ends what is left of the client: its group, and whatever has left that."""
        patience = time.monotonic() + LEFT_BEHIND_PATIENCE_S
        if self.process.returncode is None:
            patience = 0
            os.killpg(self.process.pid, signal.SIGKILL)
        while left := descendants(self.server_pid):
            for pid in left:
                if time.monotonic() > patience:
                    kill(pid)
                try:
                    self.bury(pid)
                except ChildProcessError:
                    # Its parent is still there; it comes to us when that has ended.
                    pass
            time.sleep(0.01)


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def start(command, cores, **options):
    """Starts a command on some cores alone, in a process group of its own."""
    return subprocess.Popen(
        [str(part) for part in command],
        env=os.environ | ENVIRONMENT | options.pop("environment", {}),
        start_new_session=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
        **options,
    )


# The servers


def cost_server(program, load, core):
    """The lean server of the bench `cost`, which says its address on stdout."""
    return [
        program, "serve",
        "--rate", f"{load.rate_per_s:g}",
        "--ttft-ms", str(TTFT_MS),
        "--core", str(core),
    ]


def simulate_server(program, load, _core):
    """The simulated server of tokentape, which says its address on stderr."""
    return [
        program, "simulate",
        "--stamp",
        "--stream-ttft", f"{TTFT_MS}ms",
        "--stream-rate", f"{load.rate_per_s:g}",
        "--port", "0",
        "--until-stdin-closes",
    ]


@dataclass
class ServerKind:
    """A server to choose: whose program it is, and its command line."""

    # The client that is run from the same program, and so names its path.
    program_of: str
    program_name: str
    command: Callable

    def shown(self, load, core):
        """Returns the command line as it is recorded, without paths."""
        return shlex.join(self.command(self.program_name, load, core))


SERVERS = {
    "cost": ServerKind("floor", "cost", cost_server),
    "simulate": ServerKind("tokentape", "tokentape", simulate_server),
}


class Server:
    """A running server on a core of its own; it ends with the `with` block."""

    def __init__(self, command, core):
        self.command = command
        self.core = core

    def __enter__(self):
        self.process = start(
            self.command, {self.core}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )
        told = []
        for line in self.process.stdout:
            told.append(line.strip())
            if address := re.search(r"http://127\.0\.0\.1:\d+", line):
                self.url = address.group()
                return self
        self.__exit__()
        raise Failure(f"the server said `{' '.join(told) or 'nothing'}`")

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def check(self):
        """Fails where the server has ended by itself, for then its end is no fault of the client's."""
        if self.process.poll() is not None:
            words = self.process.stdout.read().strip() or "without a word"
            raise Failure(f"the server ended with {self.process.returncode}: {words}")
