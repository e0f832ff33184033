"""A real browser without a window, and what it complains about; tests skip where there is none."""

import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import ROOT, wait_until

AXE = "axe-core@4.10.3"
OPTIONS = (
    "--headless",
    "--no-sandbox",  # which root has none of
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--ignore-certificate-errors",  # of the tests' own authority
)
# The pages wait ten times as briefly as they would.
HURRY = "const slow = setInterval; window.setInterval = (work, ms) => slow(work, ms / 10);"


class Browser:
    """Chromium, driven; `url` is the only host it may ask."""

    def __init__(self, driver: Any, url: str):
        self.driver = driver
        self.url = url
        self.send("Page.addScriptToEvaluateOnNewDocument", {"source": HURRY})

    def send(self, command: str, parameters: dict[str, Any]) -> Any:
        """A command of the developer tools."""
        return self.driver.execute_cdp_cmd(command, parameters)

    def open(self, path: str) -> None:
        """Go to a page of ours."""
        self.driver.get(self.url + path)

    def run(self, script: str, *values: Any) -> Any:
        """What a script in the page returns."""
        return self.driver.execute_script(script, *values)

    def find(self, selector: str) -> Any:
        """The first element of a CSS selector; after a click the page may only be on its way."""
        found = partial(self.driver.find_elements, "css selector", selector)
        wait_until(found, 10, selector)
        return found()[0]

    def set_scheme(self, scheme: str) -> None:
        """Wish for dark or light pages."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", {"features": features})

    def set_size(self, width: int, height: int = 800) -> None:
        """Be a screen of this size."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.send("Emulation.setDeviceMetricsOverride", metrics)

    def complaints(self) -> list[str]:
        """What the console has said since it was asked last."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """The addresses it has asked for since it was asked last."""
        found = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return found

    def strangers(self) -> list[str]:
        """The addresses of other hosts among them."""
        ours = (self.url + "/", "data:")
        return [address for address in self.requests() if not address.startswith(ours)]

    def axe(self, source: str) -> list[str]:
        """What axe-core finds serious."""
        self.run(source)
        found = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run().then(result => done(result.violations))"
        )
        return [
            f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}"
            for one in found
            if one["impact"] in ("serious", "critical")
        ]


@contextmanager
def browse(url: str) -> Iterator[Browser]:
    """A browser with a fresh profile; skips the test where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium here")
    from selenium.webdriver.chrome.service import Service

    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    for name, program in programs.items():
        if not program:
            pytest.skip(f"no {name} here: apt-get install chromium chromium-driver")
    with tempfile.TemporaryDirectory(prefix="sunspool-browser-") as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = programs["chromium"]
        for option in (*OPTIONS, f"--user-data-dir={profile}"):
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options, Service(programs["chromedriver"]))
        try:
            yield Browser(driver, url)
        finally:
            driver.quit()


def fetch_axe() -> str:
    """The source of axe-core, fetched once with npm; skips the test where that is not to be had."""
    kept = ROOT / ".venv" / f"{AXE}.js"
    if not kept.exists():
        if not shutil.which("npm"):
            pytest.skip("no npm here to fetch axe-core with")
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                ["npm", "pack", "--silent", "--pack-destination", folder, AXE],
                capture_output=True,
                text=True,
                timeout=120,
            )
            if done.returncode:
                pytest.skip(f"npm could not fetch {AXE}: {done.stderr.strip()[-200:]}")
            archive = next(Path(folder).glob("*.tgz"))
            with tarfile.open(archive) as content:
                kept.write_bytes(content.extractfile("package/axe.min.js").read())
    return kept.read_text()
