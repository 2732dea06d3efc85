"""SQL on the command line: it reads tapes and nothing else, in bounds of memory and depth."""

import signal
import time

from cases import MIB, Trial, case, each, expect
from servers import Stamping

from areas.crash import load

AREA = "sql"

SERIES = "generate_series(1, 1000000000000)"
RECURSION = "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT"

# Most memory that one question may take, in bytes: a gigabyte, with the program around it.
QUESTION_BYTES = 1_536 * MIB


def small_tape(trial: Trial) -> None:
    """Makes a small whole tape, `run.tape`."""
    server = Stamping(trial, tokens=5, pause=0.0)
    load(trial, server.url, "--num-prompts", "16", "--no-summary").wait(20).expect_code(0)


def refused(trial: Trial, text: str, code: int = 2) -> str:
    """A statement that is no question, or asks for what is no tape's."""
    small_tape(trial)
    before = sorted(path.name for path in trial.folder.iterdir())
    ended = trial.run("sql", "run.tape", "-c", text, most_bytes=QUESTION_BYTES)
    ended.expect_code(*(code,) if code else (0, 2, 4))
    made = {path.name for path in trial.folder.iterdir()} - set(before)
    made = {name for name in made if not name.endswith((".out", ".err"))}
    expect(not made, f"made {made}")
    expect("root:" not in ended.out, "shows a file of the system")
    return ended.seen()


READS_ONLY = "refused as no query: exit code 2, and nothing is written"
STATEMENTS = {
    "copy": "COPY (SELECT 1) TO 'x.csv'",
    "copy-parquet": "COPY requests TO 'x.parquet' STORED AS PARQUET",
    "copy-explained": "EXPLAIN ANALYZE COPY (SELECT 1) TO 'x.csv'",
    "copy-second": "SELECT 1; COPY (SELECT 1) TO 'x.csv'",
    "copy-behind-a-comment": "/* SELECT */ COPY (SELECT 1) TO 'x.csv' -- SELECT",
    "copy-prepared": "PREPARE p AS COPY (SELECT 1) TO 'x.csv'",
    "external-table": "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
    "external-table-written": "CREATE EXTERNAL TABLE t (a INT) STORED AS CSV LOCATION 'x/'",
    "create-table": "CREATE TABLE t AS SELECT 1",
    "create-view": "CREATE VIEW requests AS SELECT 1",
    "insert": "INSERT INTO requests SELECT * FROM requests",
    "insert-explained": "EXPLAIN ANALYZE INSERT INTO requests SELECT * FROM requests",
    "update": "UPDATE requests SET run = 'x'",
    "delete": "DELETE FROM requests",
    "truncate": "TRUNCATE TABLE requests",
    "drop": "DROP TABLE requests",
    "set": "SET datafusion.execution.batch_size = 1",
    "reset": "RESET datafusion.execution.batch_size",
    "create-function": "CREATE FUNCTION f(DOUBLE) RETURNS DOUBLE RETURN $1",
    "create-schema": "CREATE SCHEMA s",
    "begin": "BEGIN TRANSACTION",
}
each(AREA, {f"no-{name}": (READS_ONLY, text) for name, text in STATEMENTS.items()}, refused)

NOT_FOUND = "refused: the views of tapes are all that can be read"
SOURCES = {
    "file": "SELECT * FROM '/etc/passwd'",
    "file-quoted": 'SELECT * FROM "/etc/passwd"',
    "file-url": "SELECT * FROM 'file:///etc/passwd'",
    "file-of-the-tape": "SELECT * FROM 'run.tape/requests/part-00000.parquet'",
    "read-csv": "SELECT * FROM read_csv('/etc/passwd')",
    "read-parquet": "SELECT * FROM read_parquet('run.tape/requests/part-00000.parquet')",
    "parquet-metadata": "SELECT * FROM parquet_metadata('run.tape/requests/part-00000.parquet')",
    "getenv": "SELECT getenv('HOME')",
}
each(AREA, {f"no-{name}": (NOT_FOUND, text) for name, text in SOURCES.items()}, refused)

# Just over what the guard lets through, in every spelling that nests.
DEPTH = 2_100
SHALLOW = "text that nests beyond the guard's limit is refused: exit code 2, no crash"
NESTED = {
    "parentheses": "(" * DEPTH + "1" + ")" * DEPTH,
    "not": "NOT " * DEPTH + "true",
    "minus": "- " * DEPTH + "1",
    "plus": "1" + "+1" * DEPTH,
    "and": "true" + " AND true" * DEPTH,
    "case": "CASE WHEN true THEN " * DEPTH + "1" + " END" * DEPTH,
    "brackets": "[" * DEPTH + "1" + "]" * DEPTH,
    "index": "[1]" + "[1]" * DEPTH,
    "double-colon": "1" + "::int" * DEPTH,
    "arrows": "'{}'" + "->'a'" * DEPTH,
    "calls": "abs(" * DEPTH + "1" + ")" * DEPTH,
    "time-zone": "now()" + " AT TIME ZONE 'UTC'" * DEPTH,
    "collate": "'a'" + ' COLLATE "C"' * DEPTH,
    "is-null": "1" + " IS NULL" * DEPTH,
    "unions": "1" + " UNION ALL SELECT 1" * DEPTH,
    "subqueries": "(SELECT " * DEPTH + "1" + ")" * DEPTH,
    "joins": "1 FROM requests" + " JOIN requests ON true" * DEPTH,
    "in-lists": "1" + " IN (1)" * DEPTH,
    "values": f"* FROM {'(SELECT * FROM ' * DEPTH}requests{') AS t' * DEPTH}",
    "explain": "1; " + "EXPLAIN " * DEPTH + "SELECT 1",
}
each(
    AREA,
    {f"nested-{name}": (SHALLOW, "SELECT " + text, 0) for name, text in NESTED.items()},
    refused,
)

PLAIN = "a plain question is answered, whatever its words"
FINE = {
    "negative-numbers": "SELECT count(*) FROM requests WHERE request_id IN ("
    + "-1," * 2_001
    + "0)",
    "numbers-30000": "SELECT count(*) FROM requests WHERE request_id IN (" + "1," * 30_000 + "0)",
    "columns-2000": "SELECT " + ",".join(f"{n} AS c{n}" for n in range(2_000)) + " FROM runs",
    "column-named-as-a-query": "SELECT 1 AS cost, 2 AS validity, 3 AS intervals, 4 AS differences",
    "casts-32": f"SELECT {'CAST(' * 32}1{' AS INT)' * 32}",
}


def answered(trial: Trial, text: str) -> str:
    """A question that is well within all bounds."""
    small_tape(trial)
    return trial.run("sql", "run.tape", "-c", text, most_bytes=QUESTION_BYTES).expect_code(0).seen()


each(AREA, {f"fine-{name}": (PLAIN, text) for name, text in FINE.items()}, answered)


def bounded(trial: Trial, text: str) -> str:
    """A question that would take all memory or for ever: ended by a bound, or by Ctrl-C."""
    small_tape(trial)
    limit = ["--memory-limit", "1GiB"]
    running = trial.start("sql", "run.tape", "--format", "csv", *limit, "-c", text)
    until = time.monotonic() + 15
    # What is printed is not bounded, but for the disk of this machine.
    while (
        running.is_running()
        and time.monotonic() < until
        and running.out.stat().st_size < 1 << 30
    ):
        time.sleep(0.05)
    how = "ended by itself"
    if running.is_running():
        how = "ended by SIGINT"
        running.send(signal.SIGINT)
    ended = running.wait(5).expect_code(0, 1, 2, 4, 130, -signal.SIGINT, -signal.SIGPIPE)
    return f"{how}: {ended.seen()}"


BOUNDED = "memory stays within the bound, and it ends with a message or at SIGINT"
GIANTS = {
    "repeat": "SELECT repeat('x', 2000000000)",
    "lpad": "SELECT lpad('x', 2000000000)",
    "rpad": "SELECT rpad('x', 2000000000)",
    "repeat-per-row": "SELECT length(repeat('x', 200000000)) FROM requests",
    "repeat-of-repeat": "SELECT length(repeat(repeat('x', 40000), 40000))",
    "doubled": "SELECT " + "replace(" * 16 + "'xx'" + ", 'x', 'xxxx')" * 16,
    "concat": f"SELECT length(concat(t{', t' * 15})) FROM (SELECT repeat('x', 100000000) t)",
    "array-repeat": "SELECT array_length(array_repeat(1, 1000000000))",
    "range-as-list": "SELECT array_length(range(1, 1000000000))",
    "generator-printed": f"SELECT * FROM {SERIES}",
    "generator-sorted": f"SELECT value FROM {SERIES} ORDER BY value DESC LIMIT 1",
    "generator-distinct": f"SELECT count(DISTINCT value) FROM {SERIES}",
    "generator-collected": f"SELECT length(string_agg(CAST(value AS VARCHAR), ',')) FROM {SERIES}",
    "generator-of-arrays": f"SELECT array_agg(value) FROM {SERIES}",
    "cross-join": "SELECT count(*) FROM chunks a, chunks b, chunks c, chunks d, chunks e, chunks f",
    "recursion-without-end": f"{RECURSION} n + 1 FROM t) SELECT max(n) FROM t",
    "recursion-that-doubles": f"{RECURSION} n + x FROM t, (VALUES (0), (1)) v(x)) SELECT 1 FROM t",
}
each(
    AREA, {f"bounded-{name}": (BOUNDED, text) for name, text in GIANTS.items()}, bounded, seconds=60
)


@case(AREA)
def text_of_megabytes(trial: Trial) -> str:
    """A file of 20 MB of SQL is answered or refused, in bounded memory."""
    small_tape(trial)
    (trial.folder / "long.sql").write_text("SELECT 1" + " " * (10 * MIB) + "-- " + "x" * (10 * MIB))
    ended = trial.run("sql", "run.tape", "-f", "long.sql", most_bytes=QUESTION_BYTES)
    return ended.expect_code(0, 2).seen()


@case(AREA)
def many_statements(trial: Trial) -> str:
    """A thousand statements are answered or refused in seconds."""
    small_tape(trial)
    ended = trial.run("sql", "run.tape", "-c", "SELECT 1;" * 1_000, most_bytes=QUESTION_BYTES)
    return ended.expect_code(0, 2).seen()
