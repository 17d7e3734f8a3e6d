"""A real browser for the pages: the system's Chromium, driven by Playwright, judged by axe-core."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDE, PHONE = 1280, 390  # CSS pixels
OURS = ("", "127.0.0.1", "localhost")  # "": a file, or what stands in the page itself


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser, or skip the tests that need one."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"needs a browser: {' or '.join(NAMES)}")
    with sync_playwright() as playwright:
        # tests may run as root, in whose name Chromium has no sandbox
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Browser,
    address: str,
    width: int = WIDE,
    dark: bool = False,
    refused: str | None = None,
) -> Iterator[Page]:
    """Open a page as a person has it. It may ask nobody else for anything, and reports no error.

    `refused`: a part of the addresses whose requests may fail, which browsers report.
    """
    page = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
    )
    faults: list[str] = []

    def note_host(request: Request) -> None:
        if (urlsplit(request.url).hostname or "") not in OURS:
            faults.append(f"asks {request.url}")

    def note_message(message: ConsoleMessage) -> None:
        is_expected = refused is not None and refused in message.location["url"]
        if message.type == "error" and not is_expected:
            faults.append(message.text)

    def note_error(error: Error) -> None:
        faults.append(str(error))

    page.on("request", note_host)
    page.on("console", note_message)
    page.on("pageerror", note_error)
    page.goto(address)
    yield page
    page.close()
    assert not faults, faults


def violations(page: Page) -> list[str]:
    """What axe-core finds wrong in a page: its rule, and the first element."""
    found = Axe().run(page).response["violations"]
    return [f"{rule['id']}: {rule['nodes'][0]['html'][:200]}" for rule in found]


def overflow(page: Page) -> int:
    """By how many CSS pixels the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
