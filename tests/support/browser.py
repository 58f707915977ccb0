"""A headless Chromium (Debian's, with its driver), for what only a browser can show of a page.

Tests that need it skip, and say so, where it is not installed: `apt-get install chromium chromium-driver`.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.waiting import wait_until

BROWSER = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
WHY_NOT = "" if BROWSER and DRIVER else "needs Debian's packages chromium and chromium-driver"

AXE = "axe-core@4.14.1"
AXE_SHA256 = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745"

DESKTOP = (1280, 900)
PHONE = (360, 740)


class Page:
    """One browser with one page."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def look(self, *, dark: bool = False, size: tuple[int, int] = DESKTOP) -> None:
        """In which colours and at which size pages are shown from now on."""
        width, height = size
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        colours = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": colours})

    def open(self, url: str) -> None:
        self.driver.get(url)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def text(self, selector: str) -> str:
        """What a reader sees of the first such element, "" where there is none."""
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def wait_text(self, selector: str, words: str, timeout: float = 15.0) -> None:
        wait_until(lambda: words in self.text(selector), f"{words!r} in {selector}", timeout, 0.1)

    def press(self, *keys: str) -> None:
        """Keys to whatever has the focus."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def tab_to(self, words: str, at_most: int = 60) -> None:
        """Press Tab until the focus is on a link, button or field that is called so."""
        for _ in range(at_most):
            self.press(Keys.TAB)
            if words in self.focused():
                return
        raise AssertionError(f"no way by Tab to {words!r}")

    def focused(self) -> str:
        """The name of what has the focus."""
        script = """
            const e = document.activeElement;
            return (e.labels?.[0]?.innerText ?? '') + ' ' + (e.textContent ?? '').replace(/\\s+/g, ' ');
        """
        return str(self.run(script))

    def fill(self, field: str, text: str) -> None:
        self.driver.find_element(By.ID, field).send_keys(text)

    def errors(self) -> list[str]:
        """What the browser complains about: faults of scripts, and what the page's own policy forbids."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def picture(self, file: Path, height: int | None = None) -> None:
        """The whole page, or its upper `height` pixels."""
        width = int(self.run("return document.documentElement.clientWidth"))
        whole = int(self.run("return document.body.getBoundingClientRect().bottom + window.scrollY"))
        clip = {"x": 0, "y": 0, "width": width, "height": min(whole, height or whole), "scale": 1}
        made = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"format": "png", "clip": clip, "captureBeyondViewport": True}
        )
        file.write_bytes(base64.b64decode(made["data"]))

    def axe(self, script: str) -> list[str]:
        """What the accessibility checker finds serious or critical: rule, and where."""
        self.run(script)
        found = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run(document).then(done, (e) => done({failed: String(e)}));"
        )
        assert "failed" not in found, found
        return [
            f"{each['id']} ({each['impact']}): {node['html']} {node['failureSummary']}"
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
        ]


@contextmanager
def chromium() -> Iterator[Page]:
    """A browser with a profile of its own."""
    assert BROWSER is not None
    with tempfile.TemporaryDirectory(prefix="chromium-") as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = BROWSER
        for argument in (
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"),
            *(
                "--hide-scrollbars",
                "--disable-background-networking",
                "--no-first-run",
                f"--user-data-dir={profile}",
            ),
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
        driver.set_script_timeout(60)
        driver.set_page_load_timeout(30)
        try:
            yield Page(driver)
        finally:
            driver.quit()


def axe_script(folder: Path) -> str:
    """The accessibility checker, fetched once into `folder`.

    Raises:
        LookupError: it cannot be fetched; the reason.
    """
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / f"{AXE}.js"
    if script.exists():
        return script.read_text()
    npm = shutil.which("npm")
    if npm is None:
        raise LookupError(f"needs npm, to fetch {AXE}")
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [npm, "pack", "--silent", AXE], cwd=scratch, capture_output=True, text=True, timeout=100, check=False
        )
        packed = next(Path(scratch).glob("*.tgz"), None)
        if done.returncode != 0 or packed is None:
            raise LookupError(f"npm could not fetch {AXE}")
        assert sha256(packed.read_bytes()).hexdigest() == AXE_SHA256, f"{AXE} is not what it was"
        with tarfile.open(packed) as archive:
            member = archive.extractfile("package/axe.min.js")
            assert member is not None
            fresh = folder / f"{AXE}.{packed.stat().st_ino}"
            fresh.write_bytes(member.read())
    fresh.replace(script)
    return script.read_text()
