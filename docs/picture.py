#!/usr/bin/env python3
"""Makes `docs/report.png`, the picture in the README, from a report of the demo.

Usage: docs/picture.py tokentape-demo/report.html docs/report.png

Shows the page's head, its first table and its first figures over time; the rest is left out of the
picture for its size. Nothing else of the page is changed.
"""

import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "browser"))

import check

WIDTH = 1100
SECTIONS = ("latency", "over-time")
FIGURES = 4
KEEP = ", ".join(f"#{section}" for section in SECTIONS)

# The policy of the page allows no style but its own, so elements are taken out one by one.
TRIM = f"""
(() => {{
  for (const part of document.querySelectorAll('nav, main > section, footer')) {{
    if (!part.matches('{KEEP}')) part.remove();
  }}
  [...document.querySelectorAll('figure')].slice({FIGURES}).forEach((figure) => figure.remove());
  document.querySelectorAll('figure details').forEach((numbers) => numbers.remove());
  [...document.querySelectorAll('section > .scroll')].slice(1).forEach((table) => table.remove());
  document.querySelectorAll('.remark').forEach((remark) => remark.remove());
  const left = [...document.querySelectorAll('main > section')].map((part) => part.id);
  return {{ left, height: Math.ceil(document.body.getBoundingClientRect().bottom) }};
}})()
"""


def main():
    page, picture = sys.argv[1:]
    browser = check.Browser(check.find_program())
    try:
        check.look(browser, page, WIDTH, "light")
        trimmed = browser.call("Runtime.evaluate", expression=TRIM, returnByValue=True)
        trimmed = trimmed["result"]["value"]
        if trimmed["left"] != list(SECTIONS):
            raise check.Unchecked(f"the page has {trimmed['left']} of {SECTIONS}")
        check.take_screenshot(browser, pathlib.Path(picture), WIDTH, trimmed["height"])
    finally:
        browser.close()


if __name__ == "__main__":
    main()
