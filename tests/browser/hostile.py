#!/usr/bin/env python3
"""Puts hostile text into every place of a tape's manifest that comes from outside.

Usage: hostile.py NAME.tape

HTML and scripts, addresses, marks that turn the direction of writing, control characters, and ten
thousand letters without a space: whatever a page makes of them, they have to stay text.
"""

import json
import pathlib
import sys

HOSTILE = (
    "</script></svg><script>document.title='broken out'</script>"
    "<img src=x onerror=\"document.title='broken out'\">"
    "\u202e\u2066gnp.exe\u2069 `a` {{ 7*7 }} {% raw %} & \"'\u05e9\u05dc\u05d5\u05dd"
    " https://example.invalid/x javascript:alert(3) \u0007\u001b[2J"
)
LONG = HOSTILE + "x" * 10_000


def main(tape):
    path = pathlib.Path(tape) / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["run_id"] = LONG
    manifest["target"] = LONG
    manifest["tool_version"] = LONG
    manifest["labels"] = {LONG: LONG, HOSTILE: HOSTILE}
    manifest["bounds_hit"] = {LONG: 3}
    manifest["recovered"] = LONG
    manifest["host"]["name"] = LONG
    manifest["host"]["system"] = HOSTILE
    manifest["plan"] = {**manifest["plan"], "model": LONG, HOSTILE: [LONG, {"deep": HOSTILE}]}
    path.write_text(json.dumps(manifest), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
