#!/usr/bin/env python3
"""Uses `tokentape view` in headless Chromium as its reader would.

Starts the server on the tapes, comes in by the address with the token, looks at the report and at
the page of questions at each width in light and dark, asks questions by keyboard and by button,
lets the form ask for other goals and for Chinese, feeds it what is wrong, and knocks at the door
without the token and by another name.

Usage: view.py [--screenshots DIR] [--chromium PROGRAM] TOKENTAPE TAPE...

Exits with 1 when something is wrong, and with 2 when it could not be checked.
"""

import argparse
import http.client
import json
import pathlib
import re
import signal
import subprocess
import sys

import check

QUESTION = "SELECT request_id, ttft_ns, output_tokens FROM requests WHERE ttft_ns > 0 ORDER BY 1"


class Reader:
    """A browser at the pages of one server."""

    def __init__(self, browser, home):
        self.browser = browser
        self.home = home
        self.faults = []

    def expect(self, is_so, what):
        if not is_so:
            self.faults.append(what)

    def run(self, expression):
        result = self.browser.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise check.Unchecked(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def go(self, action):
        """Does what leads to another page, and waits for that to be there."""
        self.browser.events.clear()
        action()
        self.browser.wait_for("Page.loadEventFired")

    def open(self, path):
        self.go(lambda: self.browser.call("Page.navigate", url=self.home + path))

    def follow(self, expression):
        self.go(lambda: self.run(expression))

    def text(self):
        return self.run("document.body.innerText")

    def heard(self, is_wrong=False):
        """What the page said and asked for beside this server. A page that has to say that
        something is wrong comes with a status for it, which the browser logs."""
        for line in check.heard(self.browser.events, None):
            is_own = line.startswith(f"asks for {self.home}")
            is_status = is_wrong and line.startswith("logs: Failed to load resource") and "400" in line
            if not is_own and not is_status:
                yield line

    def ask(self, question, by_key=False, **choices):
        self.run(f"document.querySelector('#q').value = {json.dumps(question)}")
        for name, value in choices.items():
            self.run(f"document.querySelector('.ask [name={name}]').value = {json.dumps(value)}")
        if by_key:
            self.run("document.querySelector('#q').focus()")
            key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "modifiers": 2}
            self.go(lambda: self.browser.call("Input.dispatchKeyEvent", type="rawKeyDown", **key))
        else:
            self.follow("document.querySelector('.ask .run').click()")


def look_around(reader, path, screenshots, name):
    for scheme in check.SCHEMES:
        for width in check.WIDTHS:
            faults, measured = check.look(reader.browser, reader.home + path, width, scheme)
            faults = [fault for fault in faults if not fault.startswith(f"asks for {reader.home}")]
            reader.faults += [f"{name}, {width} px, {scheme}: {fault}" for fault in faults]
            if screenshots:
                shot = screenshots / f"view-{name}-{width}-{scheme}.png"
                check.take_screenshot(reader.browser, shot, width, measured["height"])


def ask_questions(reader):
    reader.open("")
    reader.follow("document.querySelector('.live a[href=\"sql\"]').click()")
    reader.expect("What can be asked about" in reader.text(), "the page of questions does not say what there is")
    reader.ask(QUESTION, by_key=True)
    reader.expect(reader.run("document.querySelector('#q').value") == QUESTION, "the question is gone")
    reader.expect(reader.run("document.querySelectorAll('.answer tbody tr').length > 2"), "no table came")
    reader.expect("by request_id" in reader.text(), "no picture came")
    reader.faults += [f"an answer {line}" for line in reader.heard()]
    used = reader.run(check.USE)
    reader.faults += [f"an answer, in use: {fault}" for fault in used["faults"]]
    reader.expect(used["used"]["lines"] == 1 and used["used"]["tables"] >= 1, f"too little to use: {used['used']}")
    reader.ask(QUESTION, draw="dots", x="output_tokens", y="ttft_ns")
    reader.expect("ttft, ms by output_tokens" in reader.text(), "columns that were chosen are not drawn")
    reader.expect(reader.run("document.querySelectorAll('.answer svg circle').length > 2"), "no dots came")
    reader.ask("SELECT status, count(*) AS n FROM requests GROUP BY status; SELECT 1 AS one", draw="bars")
    reader.expect(reader.run("document.querySelectorAll('.answer').length") == 2, "two questions have not two answers")
    reader.follow("document.querySelector('#named a').click()")
    reader.expect(reader.run("document.querySelector('#q').value").startswith("-- name:"), "a named query is not shown")
    csv = reader.run(
        "(() => { const ask = new XMLHttpRequest(); ask.open('GET', 'sql.csv?q=SELECT+1', false);"
        " try { ask.send(); return 'sent'; } catch { return 'refused'; } })()"
    )
    reader.expect(csv == "refused", "the page's policy lets scripts ask for things")


def feed_rubbish(reader):
    for wrong, word in [
        ("DROP VIEW requests", "DROP VIEW requests"),
        ("SELECT nonsense FROM requests", "nonsense"),
        ("COPY (SELECT 1) TO 'out.csv'", "COPY"),
        ("SELECT '<img src=x onerror=alert(1)>' FROM nothing", "nothing"),
        ("𝕤𝕖𝕝𝕖𝕔𝕥 ☃ \u202e", "𝕤𝕖𝕝𝕖𝕔𝕥"),
        ("SELECT " + "(" * 300 + "1" + ")" * 300, ""),
    ]:
        reader.open("sql")
        reader.ask(wrong)
        alert = reader.run("document.querySelector('[role=alert]')?.innerText ?? ''")
        reader.expect(alert and word in alert or not word, f"{wrong!r} is answered with {alert!r}")
        reader.faults += [f"{wrong!r}: {line}" for line in reader.heard(is_wrong=True)]
    reader.open("?goodput=fast")
    alert = reader.run("document.querySelector('[role=alert]')?.innerText ?? ''")
    reader.expect("not a goal" in alert, f"a goal that is none is answered with {alert!r}")
    reader.open("?warmup=soon")
    alert = reader.run("document.querySelector('[role=alert]')?.innerText ?? ''")
    reader.expect("soon" in alert, f"a warm-up that is none is answered with {alert!r}")


def use_form(reader):
    reader.open("")
    for name, value in [("goodput", "ttft:400 e2el:9000"), ("lang", "zh")]:
        reader.run(f"document.querySelector('.live [name={name}]').value = {json.dumps(value)}")
    reader.follow("document.querySelector('.live button').click()")
    reader.expect(reader.run("document.documentElement.lang") == "zh-Hans", "the page is not Chinese")
    text = reader.text()
    reader.expect("达标率" in text and "TTFT ≤ 400 ms" in text, "the goals of the form are not in the report")
    value = reader.run("document.querySelector('.live [name=goodput]').value")
    reader.expect(value == "ttft:400 e2el:9000", f"the form forgot its goals: {value!r}")
    reader.faults += [f"the report in Chinese {line}" for line in reader.heard()]


def knock(reader):
    """At the door without the token, and by another name of this machine."""
    host, port, token = re.fullmatch(r"http://(.+):(\d+)/(.+)/", reader.home).groups()
    for path, name in [
        ("/", host),
        ("/0123456789/", host),
        (f"/{token}", host),
        (f"/{token}/", "rebound.example"),
    ]:
        knocker = http.client.HTTPConnection(host, int(port), timeout=check.PATIENCE_S)
        knocker.request("GET", path, headers={"Host": f"{name}:{port}"})
        answer = knocker.getresponse()
        text = answer.read().decode()
        is_closed = answer.status == 403 and len(text) < 200 and token not in text
        reader.expect(is_closed, f"{path} at {name} is answered with {answer.status}: {text[:200]}")


def serve(tokentape, tapes):
    """Starts the server; returns its process and its address."""
    process = subprocess.Popen(
        [tokentape, "view", *tapes], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    for line in process.stderr:
        found = re.search(r"http://127\.0\.0\.1:\d+/\S+/", line)
        if found:
            return process, found[0]
    raise check.Unchecked(f"the server ended with {process.wait()}")


def main():
    parser = argparse.ArgumentParser(description="Use `tokentape view` in headless Chromium.")
    parser.add_argument("tokentape", metavar="TOKENTAPE")
    parser.add_argument("tapes", nargs="+", metavar="TAPE")
    parser.add_argument("--screenshots", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--chromium", metavar="PROGRAM")
    args = parser.parse_args()
    program = args.chromium or check.find_program()
    if not program:
        print("view.py: no Chromium; install it, or name it with --chromium", file=sys.stderr)
        return 2
    if args.screenshots:
        args.screenshots.mkdir(parents=True, exist_ok=True)
    browser = process = None
    try:
        process, home = serve(args.tokentape, args.tapes)
        browser = check.Browser(program)
        reader = Reader(browser, home)
        look_around(reader, "", args.screenshots, "report")
        asked = "sql?q=" + QUESTION.replace(" ", "+").replace(">", "%3E")
        look_around(reader, asked, args.screenshots, "question")
        ask_questions(reader)
        use_form(reader)
        feed_rubbish(reader)
        knock(reader)
        process.send_signal(signal.SIGINT)
        code = process.wait(check.PATIENCE_S)
        reader.expect(code == 0, f"the server ended with {code}")
    except (check.Unchecked, OSError, subprocess.TimeoutExpired) as error:
        print(f"view.py: {error}", file=sys.stderr)
        return 2
    finally:
        if browser:
            browser.close()
        if process and process.poll() is None:
            process.kill()
            process.wait()
    for fault in reader.faults:
        print(fault, file=sys.stderr)
    if not reader.faults:
        print("view: the report, questions, the form, rubbish and strangers: no fault")
    return 1 if reader.faults else 0


if __name__ == "__main__":
    sys.exit(main())
