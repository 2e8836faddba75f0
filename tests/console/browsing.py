"""A real Chromium for the tests, which must never contact another host or report an error."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.console.visiting import PASSWORD
from tests.server.served import Served

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
NEEDED = "TESTS_NEED_CHROMIUM"
"""Set by .ci/run: then a missing Chromium fails the tests instead of skipping them."""

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
AXE = Path(str(axe_playwright_python.__file__)).with_name("axe.min.js")
WITHIN = 10_000
"""Milliseconds within which an awaited element must appear."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Starts a Chromium; skips the test where none is installed, or fails if one is needed."""
    found = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if found is None:
        message = f"no Chromium found ({', '.join(PROGRAMS)}): the console was not tried in a browser"
        if os.environ.get(NEEDED):
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass(slots=True)
class Window:
    """A browser's window on the console, with what went wrong in it."""

    page: Page
    url: str
    faults: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        """Opens a page."""
        self.page.goto(self.url + path)

    def log_in(self, name: str) -> None:
        """Fills in the form, as a person would."""
        self.open("/console/login")
        self.page.get_by_label("Usuario").fill(name)
        self.page.get_by_label("Contraseña").fill(PASSWORD)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url(f"{self.url}/console/")

    def axe(self) -> list[str]:
        """The serious and critical findings of axe-core."""
        self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found: Any = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{each['id']}: {node['html'][:160]}"
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
        ]

    def widest(self) -> tuple[int, int]:
        """The width of what the page holds, and of the window."""
        found: Any = self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        return found[0], found[1]


@contextmanager
def window(browser: Browser, served: Served, **settings: Any) -> Iterator[Window]:
    """Opens a window of a browser of its own, and asserts at its end that nothing went wrong in it."""
    settings = {"viewport": {"width": 1440, "height": 900}, "locale": "es-CO", **settings}
    context = browser.new_context(**settings)
    context.set_default_timeout(WITHIN)
    page = context.new_page()
    one = Window(page, served.relay.url)
    allowed = (one.url + "/", "data:", "blob:")
    page.on("request", lambda request: None if request.url.startswith(allowed) else one.faults.append(request.url))
    page.on("console", lambda entry: one.faults.append(entry.text) if entry.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: one.faults.append(str(error)))
    try:
        yield one
    finally:
        context.close()
    assert one.faults == [], one.faults
