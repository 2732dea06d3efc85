#!/usr/bin/env bash
# DataFusion 55.0.0 (the Python package): behind `unnest`, a grouped column still counts as unique.
#
# A subquery that is grouped by a column makes it a key of its rows. `unnest` repeats each row, and the
# planner keeps the key: SELECT DISTINCT then leaves the repeats in, and ORDER BY ignores what follows
# the key. A LIMIT between the two, or no grouping, gives the right answer.
#
# Seen: DISTINCT gives ['x', 'x', 'x'], and ORDER BY a, k leaves k as [3, 1, 2]
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install datafusion==55.0.0 pyarrow==26.0.1
"$folder/venv/bin/python" - <<'P'
import datafusion
import pyarrow

context = datafusion.SessionContext()
context.register_record_batches("t", [pyarrow.table({"a": ["x", "x"]}).to_batches()])


def column(name, query, source):
    rows = f"(SELECT a, unnest(make_array(3, 1, 2)) AS k FROM ({source}))"
    return context.sql(query.format(rows)).to_pydict()[name]


grouped, limited = "SELECT a FROM t GROUP BY a", "SELECT a FROM t LIMIT 1"
told = {}
for how, source in [("grouped", grouped), ("limited", limited)]:
    told[how, "DISTINCT a"] = column("a", "SELECT DISTINCT a FROM {}", source)
    told[how, "ORDER BY a, k"] = column("k", "SELECT a, k FROM {} ORDER BY a, k", source)
for (how, query), answer in told.items():
    print(f"{how}, {query}: {answer}")
assert told["limited", "DISTINCT a"] == ["x"]
assert told["limited", "ORDER BY a, k"] == [1, 2, 3]
assert told["grouped", "DISTINCT a"] == ["x", "x", "x"], "repeats are left out"
assert told["grouped", "ORDER BY a, k"] == [3, 1, 2], "it is in order"
P
