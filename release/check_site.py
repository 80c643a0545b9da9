"""Opens every page of the built site in headless Chromium, as wide as a desktop and as a phone, and fails where one scrolls sideways.

    python release/check_site.py site                       widths of 1280 and 390 pixels
    python release/check_site.py site --pictures shots      also writes a picture of each, light and dark

Exits with 1 and a line for each fault: a page that is wider than the window (with the elements that stick out), a program that does not
fit a desktop, a table that does not fit its box (on a phone, those of five and more columns scroll in it), an error in the console. It
needs `chromium` or `google-chrome` on the PATH.
"""

import argparse
import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (1280, 390)
PATIENCE = 120  # seconds
FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",  # it opens our own pages only, and root has no sandbox
    "--hide-scrollbars",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
MEASURE = Path(__file__).with_suffix(".js").read_text()


class Browser:
    """Chromium, spoken to through a pipe (the DevTools protocol)."""

    def __init__(self, program):
        self._folder = tempfile.TemporaryDirectory(prefix="check-site-")
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()

        def wire():  # Chromium reads file 3 and writes file 4
            into, out = os.dup(theirs_in), os.dup(theirs_out)
            os.dup2(into, 3)
            os.dup2(out, 4)

        # Files of Python are closed in a child, except for those two.
        self._process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={self._folder.name}", "about:blank"],
            preexec_fn=wire,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._number, self._rest, self._session, self.events = 0, b"", None, []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        attached = self("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self(f"{domain}.enable")

    def __call__(self, method, **arguments):
        """The result of a command. What happens before it is in `events`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": arguments}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            said = self._read()
            if said.get("id") == self._number:
                if "error" in said:
                    raise RuntimeError(f"{method}: {said['error']}")
                return said["result"]
            self.events.append(said)

    def _read(self):
        while b"\0" not in self._rest:
            if not select.select([self._from], [], [], PATIENCE)[0]:
                raise RuntimeError(f"the browser has said nothing for {PATIENCE} seconds")
            more = os.read(self._from, 1 << 16)
            if not more:
                raise RuntimeError("the browser has ended")
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def open(self, url):
        """Load a page."""
        self.events.clear()
        self("Page.navigate", url=url)
        while not any(said.get("method") == "Page.loadEventFired" for said in self.events):
            self.events.append(self._read())

    def close(self):
        """End the browser."""
        self._session = None
        self("Browser.close")
        self._process.wait(30)
        self._folder.cleanup()
        os.close(self._to)
        os.close(self._from)


def console_errors(events, address):
    """Errors of a page itself: exceptions, files of ours that are missing."""
    for said in events:
        if said.get("method") == "Runtime.exceptionThrown":
            yield said["params"]["exceptionDetails"]["text"]
        entry = said.get("params", {}).get("entry", {})
        if entry.get("level") == "error" and entry.get("url", address).startswith(address):
            yield f"{entry['text']} {entry.get('url', '')}"


def faults_of(browser, url, address, pictures):
    """What is wrong with a page, in words."""
    browser("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
    browser.open(url)
    for width in WIDTHS:
        browser("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        answer = browser("Runtime.evaluate", expression=MEASURE, awaitPromise=True, returnByValue=True)
        found = answer["result"]["value"]
        if found["page"]:
            yield f"{width}: is {found['page']} pixels wide: {', '.join(found['outside'])}"
        if width == max(WIDTHS):
            yield from (f"{width}: a program is too wide by {what}" for what in found["programs"])
        yield from (f"{width}: a table is too wide by {what}" for what in found["tables"])
        for scheme in ("light", "dark") if pictures else ():
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            browser("Emulation.setEmulatedMedia", features=features)
            browser("Runtime.evaluate", expression="new Promise(done => setTimeout(done, 300))", awaitPromise=True)
            shot = browser("Page.captureScreenshot", captureBeyondViewport=True)
            name = url.removeprefix(address).strip("/").replace("/", "-") or "index"
            (pictures / f"{name}-{width}-{scheme}.png").write_bytes(base64.b64decode(shot["data"]))
    yield from console_errors(browser.events, address)


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a line for each."""

    def log_message(self, *arguments):
        """Say nothing."""


def main():
    """Check each page of a site."""
    parser = argparse.ArgumentParser()
    parser.add_argument("site", type=Path, help="the folder that mkdocs has built")
    parser.add_argument("--pictures", type=Path, help="a folder for pictures")
    options = parser.parse_args()
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        sys.exit(f"none of {', '.join(BROWSERS)} is on the PATH")
    files = sorted(options.site.rglob("index.html"))
    if not files:
        sys.exit(f"{options.site}: no pages; build them: make docs")
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=options.site))
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    browser = Browser(program)
    faults = []
    for file in files:
        page = file.relative_to(options.site).as_posix().removesuffix("index.html")
        faults += [f"{page or 'index'}: {fault}" for fault in faults_of(browser, address + page, address, options.pictures)]
    browser.close()
    if faults:
        sys.exit("\n".join(faults))
    print(f"{len(files)} pages fit {' and '.join(map(str, WIDTHS))} pixels")


if __name__ == "__main__":
    main()
