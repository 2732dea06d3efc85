#!/usr/bin/env python3
"""Holds `tokentape analyze` to DuckDB: the same kinds of numbers of the same tape.

usage: python3 benches/analysis.py PROGRAM TAPE [ROUNDS]

PROGRAM is a release build, TAPE a tape of millions of chunks, which `load` against `simulate`
makes. In each round both read the tape, in turns: `analyze --html --json` makes its whole report,
DuckDB (PyPI `duckdb`, in a process of its own) the exact percentiles of every latency, those of
resolved gaps, percentiles over time, a heat map, gaps by block, stalls and jitter a request, the
requests in flight and the tokens over time. Printed are medians of wall time, CPU time and peak
memory, and their ratios.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

CHUNKS = """
CREATE TEMP TABLE gaps AS
SELECT request_id, attempt, seq, arrival_ns, gap_ns, tokens,
  read_seq <> lag(read_seq, 1) OVER s
    AND (lag(read_seq, 2) OVER s IS NULL OR lag(read_seq, 2) OVER s <> lag(read_seq, 1) OVER s)
    AND (lead(read_seq, 1) OVER s IS NULL OR lead(read_seq, 1) OVER s <> read_seq) AS is_resolved,
  gap_ns - lag(gap_ns, 1) OVER s AS change_ns
FROM read_parquet('{tape}/chunks/*.parquet')
WHERE channel IN ('content', 'reasoning', 'tool', 'refusal', 'audio')
WINDOW s AS (PARTITION BY request_id, attempt ORDER BY seq)
"""
PERCENTILES = "[0.5, 0.9, 0.95, 0.99, 0.999]"
QUERIES = [
    f"SELECT count(*), avg(gap_ns), quantile_cont(gap_ns, {PERCENTILES}), max(gap_ns) FROM gaps",
    f"SELECT count(*), quantile_cont(gap_ns, {PERCENTILES}) FROM gaps WHERE is_resolved",
    f"""SELECT
      quantile_cont(first_token_ns - sent_ns, {PERCENTILES}),
      quantile_cont(last_token_ns - sent_ns, {PERCENTILES}),
      quantile_cont((last_token_ns - first_token_ns) / (usage_output_tokens - 1), {PERCENTILES})
    FROM read_parquet('{{tape}}/requests/*.parquet') WHERE status = 'ok'""",
    """SELECT arrival_ns // 2000000000 AS bin, count(*), quantile_cont(gap_ns, [0.5, 0.99]), max(gap_ns)
    FROM gaps GROUP BY bin""",
    """SELECT arrival_ns // 2000000000 AS bin, floor(2 * log2(greatest(gap_ns, 1))) AS cell, count(*)
    FROM gaps GROUP BY bin, cell""",
    """SELECT floor((arrival_ns - low) / (high - low + 1.0) * 320) AS block,
      floor(256 * log2(greatest(gap_ns, 1))) AS bin, count(*), sum(gap_ns), min(gap_ns), max(gap_ns)
    FROM gaps, (SELECT min(arrival_ns) AS low, max(arrival_ns) AS high FROM gaps) GROUP BY block, bin""",
    """SELECT count(*), avg(jitter), quantile_cont(longest, [0.5, 0.99]), sum(stalls) FROM (
      SELECT avg(abs(change_ns)) AS jitter, max(gap_ns) AS longest, count(*) FILTER (WHERE gap_ns > 1000000000) AS stalls
      FROM gaps GROUP BY request_id, attempt)""",
    """SELECT max(in_flight), avg(in_flight) FROM (
      SELECT sum(step) OVER (ORDER BY at) AS in_flight FROM (
        SELECT sent_ns AS at, 1 AS step FROM read_parquet('{tape}/requests/*.parquet')
        UNION ALL SELECT end_ns, -1 FROM read_parquet('{tape}/requests/*.parquet')))""",
    "SELECT arrival_ns // 2000000000 AS bin, sum(tokens) FROM gaps GROUP BY bin",
]
DUCKDB = """
import sys, duckdb
made, *queries = eval(sys.stdin.read())
connection = duckdb.connect()
connection.execute(made)
for query in queries:
    connection.execute(query).fetchall()
"""


def measured(command, text=None):
    """Runs a command, and returns its wall time and CPU time in seconds and its peak memory in MB."""
    begun = time.monotonic()
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    child.stdin.write((text or "").encode())
    child.stdin.close()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in (0, 7):
        sys.exit(f"{command[0]} ended with {child.returncode}")
    return time.monotonic() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    program, tape = sys.argv[1], sys.argv[2]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    queries = repr([query.replace("{tape}", tape) for query in [CHUNKS, *QUERIES]])
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        analyze = [program, "analyze", tape, "--force"]
        analyze += ["--html", f"{folder}/report.html", "--json", f"{folder}/report.json"]
        for _ in range(rounds):
            ours.append(measured(analyze))
            theirs.append(measured([sys.executable, "-c", DUCKDB], queries))
    print("              wall s   CPU s   peak MB")
    medians = []
    for name, runs in [("tokentape", ours), ("DuckDB", theirs)]:
        medians.append([statistics.median(column) for column in zip(*runs)])
        print(f"{name:12} {medians[-1][0]:7.2f} {medians[-1][1]:7.2f} {medians[-1][2]:9.0f}")
    ratios = [ours / theirs for ours, theirs in zip(*medians)]
    print(f"{'ratio':12} {ratios[0]:7.2f} {ratios[1]:7.2f} {ratios[2]:9.2f}")


if __name__ == "__main__":
    main()
