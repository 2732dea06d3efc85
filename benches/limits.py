#!/usr/bin/env python3
"""Whether the verdict CLIENT-LIMITED comes when the client's error passes what is tolerated.

A verdict rests on what the client sees of itself: how late it sent, how late its timers were, how
busy its threads. `verify` has the truth beside it, from a server that writes into each token when
it was sent. This runs `tokentape verify` over a ladder of streams, several times, and holds each
verdict against the inter-token error of the same rung:

- right: VALID within the tolerance, or CLIENT-LIMITED beyond it;
- near: the error is within a factor of two of the tolerance, where either verdict will do;
- trusting: VALID, and the error is over twice the tolerance;
- cautious: CLIENT-LIMITED, and every error is under half of it;
- unknown: VALID with a large error, but the server sent under nine tenths of the tokens a second
  that it was to send: beyond its own limit its stamps are older than its writes, and the error is
  its own.

The tolerance is that of the verdict: 1 ms or 5 % of the time between two tokens, whichever is more
(`queries/validity.sql`). Ends with 1 if a verdict was trusting.

    limits.py --tokentape PROGRAM [--streams 100,300,1000,2000,4000] [--rate 100] [--rounds 3]
              [--out results.json]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

TOLERANCE_MS = 1.0
SHARE_OF_GAP = 0.05


def measured(program: str, streams: str, rate: float) -> list[dict]:
    """The rungs of one ladder, as `verify --json` has them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "verify.json"
        command = [program, "verify", "--streams", streams, "--rate", str(rate), "--json", str(path)]
        subprocess.run(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=True)
        return json.loads(path.read_text())["rungs"]


def judged(rung: dict) -> dict:
    """One verdict beside the error of the same rung."""
    tolerance = max(TOLERANCE_MS, SHARE_OF_GAP * 1000.0 / rung["rate_per_s"])

    def value(key: str) -> float | None:
        return rung["metrics"].get(key, {}).get("value")

    error = value("itl_error_p99")
    asked = rung["streams"] * rung["rate_per_s"]
    is_server_behind = (value("events_rate") or 0.0) < 0.9 * asked
    known = [one for one in (error, value("ttft_error_p50"), value("slip_p99")) if one is not None]
    is_valid = rung["validity"]["verdict"] == "VALID"
    if error is None:
        outcome = "unknown"
    elif is_valid and error > 2 * tolerance:
        outcome = "unknown" if is_server_behind else "trusting"
    elif not is_valid and max(known) < tolerance / 2:
        outcome = "cautious"
    elif tolerance / 2 <= error <= 2 * tolerance:
        outcome = "near"
    else:
        outcome = "right"
    return {
        "loop": rung["loop"],
        "streams": rung["streams"],
        "itl_error_p99_ms": error,
        "slip_p99_ms": value("slip_p99"),
        "events_per_s": value("events_rate"),
        "tolerance_ms": tolerance,
        "verdict": rung["validity"]["verdict"],
        "reason": rung["validity"]["reason"],
        "outcome": outcome,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokentape", required=True)
    parser.add_argument("--streams", default="100,300,1000,2000,4000")
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    rows = []
    for _ in range(options.rounds):
        rungs = measured(options.tokentape, options.streams, options.rate)
        rows.extend(judged(rung) for rung in rungs)
    rows.sort(key=lambda row: (row["loop"], row["streams"]))
    print(f"{'loop':<8}{'streams':>8}{'itl error p99':>15}{'tolerance':>11}  verdict")
    for row in rows:
        error = "–" if row["itl_error_p99_ms"] is None else f"{row['itl_error_p99_ms']:.3f} ms"
        line = f"{row['loop']:<8}{row['streams']:>8}{error:>15}{row['tolerance_ms']:>8.2f} ms  "
        print(f"{line}{row['verdict']:<15} {row['outcome']:<9} {row['reason']}")
    counts = {name: sum(row["outcome"] == name for row in rows) for name in
              ("right", "near", "cautious", "trusting", "unknown")}
    print(", ".join(f"{count} {name}" for name, count in counts.items()))
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")
    return 1 if counts["trusting"] else 0


if __name__ == "__main__":
    sys.exit(main())
