"""A page in headless Chromium: a script is put into a copy of it, and what the script found is read back."""

import json
import re
import shutil
import subprocess
from html import escape, unescape
from typing import NamedTuple

import pytest

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SECONDS = 120


class Probed(NamedTuple):
    """What a script found in a page, and what the browser said on its console."""

    found: dict
    console: list[str]


class Browser:
    """Headless Chromium with a profile of its own."""

    def __init__(self, program, folder):
        self.program, self.folder = program, folder

    def run(self, page, *options):
        """Open a page and return the finished process."""
        profile = f"--user-data-dir={self.folder / 'profile'}"
        command = [self.program, *FLAGS, profile, "--window-size=1400,1000", *options, page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)

    def probe(self, html, script, *, width=1280, height=900):
        """Run a script that fills the object `found` at the end of a page.

        The page stands in a frame of that size: windows of Chromium are no narrower than 500 pixels.
        """
        # Before all other scripts of the page, so that no error of theirs is missed.
        ears = """<script>const heard = [];
        addEventListener("error", (event) => heard.push(String(event.message)), true);
        addEventListener("securitypolicyviolation", (event) => heard.push(event.violatedDirective));
        </script><style>"""
        last = f"""<script>addEventListener("load", () => {{
        const found = {{}}; try {{ {script} }} catch (error) {{ found.error = String(error); }}
        found.heard = heard; parent.document.title = JSON.stringify(found); }});</script></body>"""
        probed = html.replace("<style>", ears, 1).replace("</body>", last)
        frame = f'<iframe width="{width}" height="{height}" style="border: 0" srcdoc="{escape(probed)}">'
        page = self.folder / "probe.html"
        page.write_text(f"<!DOCTYPE html><title></title>{frame}</iframe>", encoding="utf-8")
        done = self.run(page, "--dump-dom", "--virtual-time-budget=10000", "--enable-logging=stderr")
        title = re.search(r"<title>(.*?)</title>", done.stdout, flags=re.DOTALL).group(1)
        console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return Probed(json.loads(unescape(title)), console)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Chromium; skips where there is none."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("no Chromium is installed")
    return Browser(program, tmp_path_factory.mktemp("browser"))
