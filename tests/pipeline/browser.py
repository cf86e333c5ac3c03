"""Pages in a real browser."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")
_ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
WIDTHS = (1280, 400)
_BROKEN = """() => {
    const broken = [], range = document.createRange();
    for (const cell of document.querySelectorAll('td, th')) {
        const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
        while (texts.nextNode())
            for (const word of texts.currentNode.data.matchAll(/[\\p{L}\\p{N}]+/gu)) {
                range.setStart(texts.currentNode, word.index);
                range.setEnd(texts.currentNode, word.index + word[0].length);
                if (range.getClientRects().length > 1) broken.push(word[0]);
            }
    }
    return broken;
}"""


@dataclass(frozen=True)
class Seen:
    """What a page showed at a width: what the console said, what it asked the network for, how wide it is.

    `cut` counts the tables of which a part shows only by scrolling them, `broken` are words in tables that stand on two lines.
    """

    console: list[str]
    requests: list[str]
    scroll_width: int
    cut: int
    broken: list[str]
    figures: int
    pictures: int
    text: str
    names: list[str]


@contextmanager
def browser() -> Iterator[Any]:
    """Headless Chromium; skips where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip(f"there is no browser at {CHROMIUM}")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(_ARGUMENTS))
        try:
            yield started
        finally:
            started.close()


def look(started: Any, path: Path, width: int) -> Seen:
    """The page in the file at this width."""
    page = started.new_page(viewport={"width": width, "height": 900})
    console: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: console.append(message.text))
    page.on("pageerror", lambda error: console.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    seen = Seen(
        console,
        [url[:60] for url in requests if not url.startswith(("file:", "data:"))],
        page.evaluate("document.documentElement.scrollWidth"),
        page.evaluate("[...document.querySelectorAll('.wide')].filter(e => e.scrollWidth > e.clientWidth).length"),
        page.evaluate(_BROKEN),
        page.locator("figure svg").count(),
        page.evaluate("[...document.images].filter(image => image.complete && image.naturalWidth > 0).length"),
        page.inner_text("body"),
        page.evaluate("[...document.querySelectorAll('[role=img], img')].map(e => e.ariaLabel || e.alt || '')"),
    )
    page.close()
    return seen
