#!/usr/bin/env python3
"""Faults and attacks against the built program, a case each: what must hold when things go wrong.

Kills, signals, full disks, limits of the system, hostile servers, tapes, traces, SQL and callers of
the pages, secrets, too much load. Every case has one expectation, its docstring. All of it stays on
loopback and in a temporary folder; every process is ended by its id; every case is bounded in time
and memory. Python's standard library is all that is needed, and Linux. Root is not; a case that
needs something that this machine does not give, such as a namespace, is skipped and says so.

    run.py --binary PROGRAM [--only AREA|CASE[,...]] [--slow] [--list] [--keep]

`--only` takes several names, with commas; a case can be named with its area, as it is printed.
Prints a line a case (`ok`, `NOT`, `skipped`) with what was seen, then totals by area; ends with 1
if a case is NOT. Bounds on time are generous, so that other work may go on beside it.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from areas import crash, disk, hostile_server, load, secrets, simulate, sql, tape, trace, view
from cases import CASES, Case, Skipped, Trial, Wrong, one_line, time_limit

AREAS = (crash, disk, hostile_server, tape, trace, sql, view, secrets, load, simulate)


def wanted(only: str, with_slow: bool) -> list[Case]:
    """The cases that are to run: all, or those of an area or a name."""
    names = [name for name in only.split(",") if name]
    known = {name for case in CASES for name in called(case)}
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"no area and no case is called {', '.join(unknown)}; --list has them")
    chosen = [case for case in CASES if not names or called(case) & set(names)]
    # A slow case that is named is meant, one of an area that is named need not be.
    return [
        case
        for case in chosen
        if with_slow or not case.is_slow or (called(case) - {case.area}) & set(names)
    ]


def called(case: Case) -> set[str]:
    """The names by which a case can be asked for."""
    return {case.area, case.name, f"{case.area}/{case.name}"}


def tried(case: Case, program: str, folder: Path) -> tuple[str, str]:
    """Runs one case; returns its verdict and what was seen."""
    folder.mkdir()
    trial = Trial(program, folder)
    try:
        with time_limit(case.seconds):
            return "ok", case.run(trial) or ""
    except Skipped as why:
        return "skipped", str(why)
    except Wrong as seen:
        return "NOT", str(seen)
    except Exception as error:
        # A fault of the case itself, or an answer that it can't read: it shows nothing.
        return "NOT", f"the case failed: {type(error).__name__}: {error}"
    finally:
        trial.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--binary", required=True, help="the program, such as target/debug/tokentape"
    )
    parser.add_argument("--only", default="", help="areas or cases, separated by commas")
    parser.add_argument("--slow", action="store_true", help="run those that take longer as well")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    parser.add_argument("--keep", action="store_true", help="keep the folders of all cases")
    options = parser.parse_args()
    cases = wanted(options.only, options.slow)
    if options.list:
        for case in cases:
            print(f"{case.area:<16}{case.name:<40}{case.expectation}")
        return 0
    program = str(Path(options.binary).resolve(strict=True))
    totals: dict[str, dict[str, int]] = {}
    root = Path(tempfile.mkdtemp(prefix="faults-"))
    for case in cases:
        began = time.monotonic()
        verdict, seen = tried(case, program, root / f"{case.area}-{case.name}")
        seconds = time.monotonic() - began
        print(
            f"{verdict:<8}{case.area}/{case.name} ({seconds:.1f} s): {one_line(seen)}", flush=True
        )
        if verdict == "NOT":
            print(f"        expected: {case.expectation}", flush=True)
        of_area = totals.setdefault(case.area, {"ok": 0, "NOT": 0, "skipped": 0})
        of_area[verdict] += 1
        if not options.keep:
            Trial.remove(root / f"{case.area}-{case.name}")
    if options.keep:
        print(f"\nkept in {root}")
    else:
        Trial.remove(root)
    print(f"\n{'area':<16}{'ok':>6}{'NOT':>6}{'skipped':>9}")
    for area, count in totals.items():
        print(f"{area:<16}{count['ok']:>6}{count['NOT']:>6}{count['skipped']:>9}")
    sums = [
        sum(count[verdict] for count in totals.values()) for verdict in ("ok", "NOT", "skipped")
    ]
    print(f"{'all':<16}{sums[0]:>6}{sums[1]:>6}{sums[2]:>9}")
    return 1 if sums[1] else 0


if __name__ == "__main__":
    sys.exit(main())
