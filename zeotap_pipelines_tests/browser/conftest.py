"""A Playwright page on Debian's chromium.

Playwright's own loop stands in the main thread while a browser is open, so `asyncio.run` fails in a test that uses it:
run what is asynchronous in a process or thread of its own.
"""

import os
import re
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

ARTEFACTS = Path(__file__).resolve().parents[2] / "artefacts"
MISSING = "chromium is missing: apt-get install -y --no-install-recommends chromium fonts-liberation"

# Nothing but the pages under test is looked up: chromium else calls home at every start.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-sync",
]
ELSEWHERE = re.compile(r"^(https?|wss?)://(?!127\.0\.0\.1|localhost|\[::1\])")

expect.set_options(timeout=60_000)  # The machine does other things too.

failed = pytest.StashKey[bool]()


def chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((found for name in names if (found := shutil.which(name))), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[failed] = report.failed
    return report


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    executable = chromium()
    if executable is None:
        if os.environ.get("CI") == "true":
            pytest.fail(MISSING, pytrace=False)
        pytest.skip(MISSING)
    home = str(tmp_path_factory.mktemp("chromium"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable,
            args=FLAGS,
            env={**os.environ, "HOME": home, "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home},
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A fresh page of 1600 × 1000 that reaches loopback only; what a failed test saw is kept in artefacts/."""
    context = browser.new_context(viewport={"width": 1600, "height": 1000}, locale="en-GB", timezone_id="UTC")
    context.route(ELSEWHERE, lambda route: route.abort())
    page = context.new_page()
    yield page
    if request.node.stash.get(failed, False):
        page.screenshot(path=picture(f"failed-{request.node.name}"))
    context.close()


@pytest.fixture
def screenshot(page: Page) -> Callable[[str], Path]:
    """Keep what the page shows as artefacts/<name>.png."""

    def take(name: str) -> Path:
        path = picture(name)
        page.screenshot(path=path, animations="disabled")  # A dialog that fades in is shown whole.
        return path

    return take


def picture(name: str) -> Path:
    ARTEFACTS.mkdir(exist_ok=True)
    return ARTEFACTS / f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', name)}.png"
