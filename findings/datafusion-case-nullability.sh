#!/usr/bin/env bash
# DataFusion 55.0.0 (the Python package): the order of two conditions decides whether a query runs.
#
# An aggregate over `CASE WHEN b AND a IS NOT NULL THEN a ELSE 0 END` fails with an internal error;
# with `a IS NOT NULL AND b` it is answered. The logical plan takes the first CASE for a column
# without nulls, which it is, and the physical plan for one that may have some.
#
# Seen: "Physical input schema should be the same as the one converted from logical input schema"
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install datafusion==55.0.0 pyarrow==26.0.1
"$folder/venv/bin/python" - <<'P'
import datafusion
import pyarrow

context = datafusion.SessionContext()
table = pyarrow.table({"a": pyarrow.array([1, None, 3], pyarrow.int64()), "b": [True, True, True]})
context.register_record_batches("t", [table.to_batches()])


def total(value):
    query = f"SELECT sum(e) AS total FROM (SELECT {value} AS e FROM t)"
    try:
        return context.sql(query).to_pydict()["total"][0]
    except Exception as error:
        return str(error)


told = {
    "b AND a IS NOT NULL": total("CASE WHEN b AND a IS NOT NULL THEN a ELSE 0 END"),
    "a IS NOT NULL AND b": total("CASE WHEN a IS NOT NULL AND b THEN a ELSE 0 END"),
    "coalesce": total("coalesce(CASE WHEN b THEN a END, 0)"),
}
for form, answer in told.items():
    print(f"{form}: {answer}")
assert "Physical input schema should be the same" in str(told["b AND a IS NOT NULL"]), "it is answered"
assert told["a IS NOT NULL AND b"] == told["coalesce"] == 4
P
