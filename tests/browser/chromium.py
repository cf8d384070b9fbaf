"""Debian's chromium, driven by selenium: started once, one page after the other."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

if TYPE_CHECKING:
    from pathlib import Path

    from selenium.webdriver.remote.webelement import WebElement

SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
DESKTOP = (1280, 900)


class Browser(NamedTuple):
    """The driver, and what tests ask of a page."""

    driver: webdriver.Chrome

    def open(self, page: Path, size: tuple[int, int] = DESKTOP, *, dark: bool = False) -> None:
        """Open a page in a window of some size, on a system that likes light or dark."""
        self.resize(size)
        likes = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in likes.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get(page.as_uri())
        assert self.run("return document.documentElement.dataset.ready") == ""

    def resize(self, size: tuple[int, int]) -> None:
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def named(self, name: str) -> WebElement:
        return self.find(f"[data-testid={name}]")

    def text(self, selector: str) -> str:
        """Return the text of an element as it stands in the document, shown or scrolled away."""
        text: str = self.run("return document.querySelector(arguments[0]).textContent", selector)
        return text

    def attribute(self, selector: str, name: str) -> str | None:
        """Return an attribute, at once: the list makes its rows anew whenever it is scrolled."""
        script = "return document.querySelector(arguments[0]).getAttribute(arguments[1])"
        value: str | None = self.run(script, selector, name)
        return value

    def click(self, selector: str) -> None:
        """Click on an element, brought out from under the bar."""
        element = self.find(selector)
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def go_to(self, base: int) -> None:
        """Type an address into the field."""
        field = self.named("address")
        field.clear()
        field.send_keys(hex(base), Keys.ENTER)

    def errors(self) -> list[str]:
        """Return what the console says, and forget it."""
        entries: list[dict[str, Any]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries]

    def requests(self) -> list[str]:
        """Return the addresses of all requests since the last time."""
        entries: list[dict[str, Any]] = self.driver.get_log("performance")  # type: ignore[no-untyped-call]
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]


class NoBrowserError(Exception):
    """There is no chromium here."""


def installed() -> tuple[str, str]:
    """Return the paths of chromium and its driver.

    Raises:
        NoBrowserError: one of them is missing.
    """
    chromium, driver = (shutil.which(tool) for tool in ("chromium", "chromedriver"))
    if chromium is None or driver is None:
        raise NoBrowserError(
            "chromium and chromedriver are not installed; on Debian: apt-get install chromium chromium-driver"
        )
    return chromium, driver


def start(chromium: str, driver: str, profile: Path) -> Browser:
    """Start a browser with a profile of its own."""
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for switch in (*SWITCHES, f"--user-data-dir={profile}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return Browser(webdriver.Chrome(options=options, service=Service(driver)))
