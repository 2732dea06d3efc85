#!/usr/bin/env python3
"""Opens report pages in headless Chromium and checks what only a browser can tell.

For each page, at each width and in light and dark: no message on the console, no request beside
the page itself, no horizontal overflow (also with every fold open), every figure visible with its
caption and its table, every link of the contents leads somewhere, and text stands out from its
background. A page with known faults is checked first: a check that finds nothing there is broken.

Usage: check.py [--screenshots DIR] [--chromium PROGRAM] PAGE.html...

Speaks the DevTools protocol over a pipe; needs Python's standard library and Chromium alone.
Exits with 1 when a page has faults, and with 2 when it could not be checked.
"""

import argparse
import base64
import json
import os
import pathlib
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

WIDTHS = (360, 1280, 1920)
SCHEMES = ("light", "dark")
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# Time that one answer of the browser may take, in seconds.
PATIENCE_S = 60

# Screenshots are cut here, in CSS pixels: enough to look at, not enough to fill a disk.
SHOT_HEIGHT = 6000

FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-first-run",
)

# Runs inside the page. Returns the faults as sentences, and how many figures there are.
PROBE = r"""
(() => {
  const faults = [];
  const name = (element) =>
    element.tagName.toLowerCase() + (element.id ? '#' + element.id : '') +
    (element.getAttribute('class') ? '.' + element.getAttribute('class').split(' ')[0] : '');
  const overflow = (when) => {
    const room = document.documentElement.clientWidth;
    const needed = document.documentElement.scrollWidth;
    if (needed <= room) return;
    const wide = [...document.body.querySelectorAll('*')]
      .filter((element) => element.getBoundingClientRect().right > room + 1)
      .slice(0, 3).map(name);
    faults.push(`overflows ${when}: ${needed} px wide in ${room} px (${wide.join(', ')})`);
  };
  const isShown = (element) =>
    element.checkVisibility({ opacityProperty: true, visibilityProperty: true });

  const figures = [...document.querySelectorAll('figure')];
  for (const figure of figures) {
    const svg = figure.querySelector('svg');
    const caption = figure.querySelector('figcaption');
    if (!svg) { faults.push(`${name(figure)} has no drawing`); continue; }
    const box = svg.getBoundingClientRect();
    if (!isShown(svg) || box.width < 100 || box.height < 40) {
      faults.push(`${name(figure)} is not visible (${Math.round(box.width)} × ${Math.round(box.height)} px)`);
    }
    const drawn = [...svg.querySelectorAll('path, polyline, polygon, line, rect, circle')]
      .filter((shape) => shape.getBoundingClientRect().width + shape.getBoundingClientRect().height > 0);
    if (drawn.length === 0) faults.push(`${name(figure)} is empty`);
    if (!caption || !caption.textContent.trim()) faults.push(`${name(figure)} has no caption`);
    if (!figure.querySelector('table')) faults.push(`${name(figure)} has no table of its numbers`);
  }

  const ids = [...document.querySelectorAll('[id]')].map((element) => element.id);
  for (const id of new Set(ids.filter((id, at) => ids.indexOf(id) !== at))) {
    faults.push(`the id ${id} is given twice`);
  }
  for (const link of document.querySelectorAll('a[href]')) {
    const target = link.getAttribute('href');
    // A page that is served leads to others of its server.
    if (location.protocol === 'http:' && !target.startsWith('#')) continue;
    if (!target.startsWith('#') || !ids.includes(decodeURIComponent(target.slice(1)))) {
      faults.push(`the link ${target} leads nowhere`);
    }
  }

  const light = (color) => {
    const [red, green, blue] = color.match(/[\d.]+/g).map(Number).map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const background = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (!/, 0\)$|transparent/.test(color)) return color;
    }
    return 'rgb(255, 255, 255)';
  };
  const pale = new Set();
  for (const element of document.querySelectorAll('h1, h2, h3, p, td, th, dt, dd, a, summary, li, small, button')) {
    if (!element.textContent.trim() || !isShown(element)) continue;
    const pair = [light(getComputedStyle(element).color), light(background(element))];
    const contrast = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    if (contrast < 4.5) pale.add(`${name(element)} has a contrast of ${contrast.toFixed(1)}, below 4.5`);
  }
  faults.push(...[...pale].slice(0, 5));

  if (document.title.includes('broken out')) faults.push('text from outside ran as a script');
  overflow('as it opens');
  document.querySelectorAll('details').forEach((fold) => { fold.open = true; });
  overflow('with every fold open');
  document.querySelectorAll('details').forEach((fold) => { fold.open = false; });
  return {
    faults,
    figures: figures.length,
    paper: light(background(document.body)),
    height: Math.ceil(document.documentElement.scrollHeight),
  };
})()
"""

# Runs inside a page that is used as a reader would. Returns the faults as sentences, and how many
# things of each kind were used.
USE = r"""
(() => {
  const faults = [];
  const used = { lines: 0, cells: 0, legends: 0, tables: 0 };
  const move = (target, x, y, type = 'pointermove') =>
    target.dispatchEvent(new PointerEvent(type, { clientX: x, clientY: y, bubbles: true, pointerType: 'mouse' }));
  const press = (target, key) =>
    target.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
  const told = (figure) => {
    const tip = figure.querySelector('.tip');
    return tip && !tip.hidden && tip.getBoundingClientRect().width > 0 ? tip.innerText : '';
  };
  const written = (value) =>
    Number(value.toPrecision(4)).toLocaleString('en-US', { maximumFractionDigits: 9 });

  for (const figure of document.querySelectorAll('figure[data-chart]')) {
    const svg = figure.querySelector('svg');
    const data = JSON.parse(figure.dataset.chart);
    const box = svg.getBoundingClientRect();
    if (data.c) {
      used.cells += 1;
      const rects = [...svg.querySelectorAll('rect')];
      if (rects.length !== data.c.length) faults.push(`#${figure.id} draws other cells than it tells of`);
      const cell = rects[Math.floor(rects.length / 2)];
      move(cell, 0, 0);
      const n = written(data.c[Math.floor(rects.length / 2)][4]);
      if (!told(figure).endsWith(`: ${n}`)) faults.push(`#${figure.id} tells "${told(figure)}" of a cell of ${n}`);
    } else {
      used.lines += 1;
      move(svg, box.left + box.width / 2, box.top + box.height / 2);
      const middle = told(figure);
      const named = data.s.length > 1 ? `${data.s[0][0]}: ` : '';
      const isOne = data.s[0][4].some((value) => value !== null && middle.includes(`${named}${written(value)} ${data.y.u}`));
      const isAny = data.s.some((one) => middle.includes(one[0]));
      if (!middle || !(isOne || isAny)) faults.push(`#${figure.id} tells "${middle}" under the pointer`);
      move(svg, 0, 0, 'pointerleave');
      if (told(figure)) faults.push(`#${figure.id} goes on telling when the pointer has left`);
      svg.focus();
      press(svg, 'End');
      const last = told(figure);
      press(svg, 'Home');
      const first = told(figure);
      if (!last || !first) faults.push(`#${figure.id} tells nothing by the keyboard`);
      press(svg, 'Escape');
      if (told(figure)) faults.push(`#${figure.id} goes on telling after Escape`);
    }
    const buttons = figure.querySelectorAll('.legend button');
    const groups = svg.querySelectorAll('[data-s]');
    if (data.s && data.s.length > 1 && buttons.length !== data.s.length) {
      faults.push(`#${figure.id} has ${buttons.length} switches for ${data.s.length} series`);
    }
    buttons.forEach((button, index) => {
      used.legends += 1;
      const isShown = () => getComputedStyle(groups[index]).display !== 'none';
      button.click();
      if (isShown() || button.getAttribute('aria-pressed') !== 'false') faults.push(`#${figure.id} does not hide series ${index}`);
      button.click();
      if (!isShown() || button.getAttribute('aria-pressed') !== 'true') faults.push(`#${figure.id} does not show series ${index} again`);
    });
  }

  for (const table of document.querySelectorAll('table')) {
    const rows = () => [...table.tBodies[0].rows];
    const heads = [...table.tHead.rows[0].cells];
    const before = rows();
    if (before.length < 3) continue;
    const isGrouped = before.filter((row) => row.classList.contains('group')).length > 1;
    const button = heads[heads.length - 1].querySelector('button');
    if (!button) { if (!isGrouped) faults.push(`a table is not to be sorted: ${table.caption.innerText}`); continue; }
    used.tables += 1;
    const column = heads.length - 1;
    const numbers = () => rows().map((row) => Number(row.cells[column].innerText.replace(/[†,]/g, '').split(/[\s%]/)[0]));
    const name = table.caption.innerText;
    button.click();
    const up = numbers();
    if (heads[column].getAttribute('aria-sort') !== 'ascending') faults.push(`"${name}" does not say that it is sorted`);
    if (!isGrouped && up.every((n) => !isNaN(n)) && up.some((n, at) => at && n < up[at - 1])) faults.push(`"${name}" is not sorted: ${up}`);
    button.click();
    const down = numbers();
    if (!isGrouped && down.every((n) => !isNaN(n)) && down.some((n, at) => at && n > down[at - 1])) faults.push(`"${name}" is not sorted downwards: ${down}`);
    button.click();
    if (rows().some((row, at) => row !== before[at])) faults.push(`"${name}" does not get its order back`);
  }

  const foreign = document.createElement('script');
  foreign.textContent = 'window.foreignScriptRan = true';
  document.body.append(foreign);
  if (window.foreignScriptRan) faults.push('a script that is not the page\'s own runs');
  return { faults, used };
})()
"""

# A page with one fault of each kind, and a word that its finding must have.
FAULTY = """<!doctype html><meta charset="utf-8"><title>faults</title>
<body style="color: #888; background: #999"><p>pale</p><script>document.title = 'broken out'</script>
<div style="width: 2500px">wide</div>
<figure id="hidden"><figcaption>a</figcaption><svg style="display: none"><path d="M0 0L9 9"/></svg><table></table></figure>
<figure id="bare"><svg width="300" height="200"></svg></figure>
<a href="#nowhere" id="twice">a</a><i id="twice">b</i>
<img src="http://127.0.0.1:9/picture.png" alt="">
<script>console.error('a word on the console'); nonsense();</script></body>"""
FINDINGS = (
    "contrast",
    "overflows as it opens",
    "#hidden is not visible",
    "#bare is empty",
    "#bare has no caption",
    "#bare has no table",
    "leads nowhere",
    "given twice",
    "127.0.0.1:9/picture.png",
    "a word on the console",
    "nonsense is not defined",
    "ran as a script",
)
UNUSABLE = ("under the pointer", "by the keyboard", "switches", "not to be sorted")


class Unchecked(Exception):
    """The browser could not be made to check a page."""


class Browser:
    """A headless Chromium with one tab, driven over two pipes."""

    def __init__(self, program):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        ours_read, theirs_write = os.pipe()
        theirs_read, ours_write = os.pipe()
        # The browser reads its descriptor 3 and writes 4. Its ends are copied out of the way
        # first, since either number may be taken by one of these pipes.
        copies = (os.dup2(theirs_read, 203), os.dup2(theirs_write, 204))

        def place_pipes():
            os.dup2(203, 3)
            os.dup2(204, 4)

        flags = [*FLAGS, f"--user-data-dir={self.profile.name}"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")
        self.process = subprocess.Popen(
            [program, *flags, "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": self.profile.name},
            preexec_fn=place_pipes,
            pass_fds=(3, 4),
        )
        # As long as we hold the browser's ends, we would not notice its death.
        for descriptor in (theirs_read, theirs_write, *copies):
            os.close(descriptor)
        self.reader, self.writer = ours_read, ours_write
        self.rest = b""
        self.number = 0
        self.events = []
        self.session = None
        targets = self.call("Target.getTargets")["targetInfos"]
        tab = next(target["targetId"] for target in targets if target["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=tab, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.profile.cleanup()

    def call(self, method, **params):
        """Calls a method and returns its result; events on the way are kept."""
        self.number += 1
        number = self.number
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.writer, data) :]
        deadline = time.monotonic() + PATIENCE_S
        while True:
            answer = self.receive(deadline)
            if answer.get("id") != number:
                continue
            if "error" in answer:
                raise Unchecked(f"{method}: {answer['error'].get('message')}")
            return answer["result"]

    def wait_for(self, method):
        """Waits for an event that has not been seen since the events were last cleared."""
        deadline = time.monotonic() + PATIENCE_S
        while not any(event["method"] == method for event in self.events):
            self.receive(deadline)

    def receive(self, deadline):
        while b"\0" not in self.rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.reader], [], [], left)[0]:
                raise Unchecked(f"the browser gave no answer in {PATIENCE_S} seconds")
            data = os.read(self.reader, 1 << 20)
            if not data:
                raise Unchecked(f"the browser ended with {self.process.wait()}")
            self.rest += data
        message, self.rest = self.rest.split(b"\0", 1)
        message = json.loads(message)
        if "method" in message:
            self.events.append(message)
        return message


def find_program():
    return next(filter(shutil.which, PROGRAMS), None)


def address(page):
    """The address of a page: of a file, or of one that is served."""
    if str(page).startswith("http:"):
        return str(page)
    return pathlib.Path(page).resolve().as_uri()


def heard(events, page_address):
    """What the events say that a page must not do."""
    for event in events:
        params = event["params"]
        match event["method"]:
            case "Network.requestWillBeSent":
                url = params["request"]["url"]
                if url.split("#")[0] != page_address and not url.startswith("data:"):
                    yield f"asks for {url}"
            case "Runtime.consoleAPICalled":
                words = [str(arg.get("value", arg.get("description"))) for arg in params["args"]]
                yield f"says on the console: {' '.join(words)}"
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                exception = details.get("exception", {}).get("description", details["text"])
                yield f"throws: {exception.splitlines()[0]}"
            case "Log.entryAdded":
                entry = params["entry"]
                yield f"logs: {entry['text']} {entry.get('url', '')}".rstrip()


def look(browser, page, width, scheme):
    """Opens a page and returns its faults and what the probe measured."""
    page_address = address(page)
    browser.call(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=1000,
        deviceScaleFactor=1,
        mobile=False,
    )
    browser.call(
        "Emulation.setEmulatedMedia",
        features=[{"name": "prefers-color-scheme", "value": scheme}],
    )
    browser.events.clear()
    opened = browser.call("Page.navigate", url=page_address)
    if "errorText" in opened:
        raise Unchecked(f"{page}: {opened['errorText']}")
    browser.wait_for("Page.loadEventFired")
    result = browser.call("Runtime.evaluate", expression=PROBE, returnByValue=True)
    if "exceptionDetails" in result:
        raise Unchecked(f"{page}: the probe failed: {result['exceptionDetails']}")
    measured = result["result"]["value"]
    faults = measured["faults"] + list(heard(browser.events, page_address))
    return list(dict.fromkeys(faults)), measured


def use(browser, page):
    """Uses a page as a reader would; returns its faults and what was used."""
    look(browser, page, 1280, "light")
    result = browser.call("Runtime.evaluate", expression=USE, returnByValue=True)
    if "exceptionDetails" in result:
        details = result["exceptionDetails"]
        text = details.get("exception", {}).get("description", details["text"])
        raise Unchecked(f"{page}: the use of it failed: {text}")
    value = result["result"]["value"]
    return [f"{page}, in use: {fault}" for fault in value["faults"]], value["used"]


def take_screenshot(browser, path, width, height):
    clip = {"x": 0, "y": 0, "width": width, "height": min(height, SHOT_HEIGHT), "scale": 1}
    shot = browser.call(
        "Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True
    )
    path.write_bytes(base64.b64decode(shot["data"]))


def check(browser, page, screenshots):
    """Checks one page in every way; returns its faults, each with where it was seen."""
    found = []
    papers = {}
    figures = 0
    for scheme in SCHEMES:
        for width in WIDTHS:
            faults, measured = look(browser, page, width, scheme)
            found += [f"{page}, {width} px, {scheme}: {fault}" for fault in faults]
            papers[scheme] = measured["paper"]
            figures = measured["figures"]
            if screenshots:
                name = f"{pathlib.Path(page).stem}-{width}-{scheme}.png"
                take_screenshot(browser, screenshots / name, width, measured["height"])
    faults, used = use(browser, page)
    found += faults
    if figures == 0:
        found.append(f"{page}: has no figure")
    if not all(used.values()):
        found.append(f"{page}: not everything was there to be used: {used}")
    if not papers["dark"] < 0.2 < 0.5 < papers["light"]:
        found.append(f"{page}: light and dark look the same")
    if not found:
        words = ", ".join(f"{count} {name}" for name, count in used.items())
        print(f"{page}: {figures} figures, {len(WIDTHS)} widths, light and dark, used {words}: no fault")
    return found


def check_the_check(browser, sound):
    """Fails unless every fault of a page made of faults is found, and a script that is missing."""
    with tempfile.TemporaryDirectory() as folder:
        page = pathlib.Path(folder) / "faulty.html"
        page.write_text(FAULTY, encoding="utf-8")
        faults, _ = look(browser, page, 1280, "light")
    text = "\n".join(faults)
    missed = [finding for finding in FINDINGS if finding not in text]
    if missed:
        raise Unchecked(f"the check is blind to {missed}; it found:\n{text}")
    with tempfile.TemporaryDirectory() as folder:
        dumb = pathlib.Path(folder) / "dumb.html"
        text = pathlib.Path(sound).read_text(encoding="utf-8")
        dumb.write_text(re.sub("(?s)<script>.*?</script>", "", text), encoding="utf-8")
        faults, _ = use(browser, dumb)
    missed = [word for word in UNUSABLE if not any(word in fault for fault in faults)]
    if missed:
        raise Unchecked(f"the use of a page without a script has no fault for {missed}: {faults}")


def main():
    parser = argparse.ArgumentParser(description="Check report pages in headless Chromium.")
    parser.add_argument("pages", nargs="+", metavar="PAGE.html")
    parser.add_argument("--screenshots", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--chromium", metavar="PROGRAM")
    args = parser.parse_args()
    program = args.chromium or find_program()
    if not program:
        print("check.py: no Chromium; install it, or name it with --chromium", file=sys.stderr)
        return 2
    if args.screenshots:
        args.screenshots.mkdir(parents=True, exist_ok=True)
    browser = None
    try:
        browser = Browser(program)
        check_the_check(browser, args.pages[0])
        found = [fault for page in args.pages for fault in check(browser, page, args.screenshots)]
    except (Unchecked, OSError) as error:
        print(f"check.py: {error}", file=sys.stderr)
        return 2
    finally:
        if browser:
            browser.close()
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
