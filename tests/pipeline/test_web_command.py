"""`edgewright run --web` as a user calls it, in a browser and without."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import pytest
from tests.pipeline.browser import WIDTHS, browser
from tests.tiny import tiny_bundle
from tests.web import PATIENCE_S, Served, output, served, until

from edgewright.pipeline.cli import main
from edgewright.runtime.status import SourceStatus

ENDLESS = "synthetic:1:1000000?size=120x160&fps=15"


@pytest.fixture(scope="module", name="folder")
def folder_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web")
    tiny_bundle(folder)
    return folder


@contextmanager
def running(folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command with a web view on a free port, and its address; it is interrupted in the end."""
    command = [
        sys.executable,
        "-m",
        "edgewright.pipeline.cli",
        "run",
        "bundle",
        "--threads",
        "1",
        "--web",
        ":0",
        *words,
    ]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            match = re.fullmatch(r"web view: (http://127\.0\.0\.1:\d+/)\n", process.stderr.readline())
            assert match is not None
            yield process, match[1]
        finally:
            process.kill()


def status_of(url: str) -> Any:
    with urllib.request.urlopen(f"{url}status.json", timeout=PATIENCE_S) as answer:
        return json.load(answer)


def test_a_run_with_a_web_view_ends_in_order_with_clients_connected(folder: Path) -> None:
    with running(folder, "--source", ENDLESS, "--sink", "jsonl:run.jsonl") as (process, url):
        until(lambda: status_of(url)["sources"][0]["frames"] > 3, "some frames")
        status = status_of(url)
        assert (status["network"], status["settings"]["backend"]) == ("blob", "ort")
        with urllib.request.urlopen(f"{url}healthz", timeout=PATIENCE_S) as answer:
            assert answer.status == 200
        readers = [
            urllib.request.urlopen(f"{url}{path}", timeout=PATIENCE_S) for path in 3 * ("events", "picture.mjpeg")
        ]
        assert readers[0].readline() == b"retry: 2000\n"
        assert readers[1].readline() == b"--edgewright-frame\r\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_S)
        for reader in readers:
            reader.close()
    assert (process.returncode, err) == (0, "")
    assert "frames/s over" in out
    assert "draw" in out
    assert (folder / "run.jsonl").read_text().count("\n") > 3


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--web", "8080"), "the web view listens on [HOST]:PORT, for example :8080 or 0.0.0.0:8080; got '8080'"),
        (("--web", ":0?fpz=3"), "sink web has no option 'fpz' (did you mean 'fps'?)"),
        (("--web", ":0?quality=0"), "option quality of sink web must be a number above 0 and up to 100, got '0'"),
    ],
)
def test_a_wrong_address_or_option_is_one_sentence(
    folder: Path, words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", str(folder / "bundle"), "--threads", "1", "--source", "synthetic:1:2", *words])
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {sentence}")
    assert err.count("\n") == 1


def test_a_port_in_use_is_one_sentence_and_nothing_is_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit) as caught:
        port = taken.getsockname()[1]
        words = ("--sink", f"jsonl:{tmp_path}/run.jsonl", "--web", f":{port}")
        main(["run", str(folder / "bundle"), "--threads", "1", "--source", "synthetic:1:2", *words])
    assert caught.value.code == 2
    sentence = "the port is in use; choose another one, or end the program that has it"
    assert capsys.readouterr().err == f"error: web view: cannot listen on 127.0.0.1:{port}: {sentence}\n"
    assert list(tmp_path.iterdir()) == []


def test_without_its_packages_the_sentence_says_what_to_install(folder: Path) -> None:
    code = """
import sys
sys.modules["starlette"] = None
from edgewright.pipeline.cli import main
main(["run", "bundle", "--source", "synthetic:1:2", "--web", ":0"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    wanted = "error: 'web' needs the package 'starlette', which is not installed; run: pip install 'edgewright[web]'\n"
    assert done.stderr == wanted


def opened(started: Any, url: str, width: int, scheme: str) -> tuple[Any, list[str], list[str]]:
    """The page, what its console says, and what it asks for."""
    page = started.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.set_default_timeout(1000 * PATIENCE_S)
    console: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: console.append(message.text))
    page.on("pageerror", lambda error: console.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    return page, console, asked


def comes_true(page: Any, expression: str) -> None:
    """Wait for it from outside: the page's policy lets nobody evaluate text within."""
    until(lambda: page.evaluate(expression), expression)


def test_the_page_is_alive_in_a_browser(folder: Path, tmp_path: Path) -> None:
    with browser() as started, running(folder, "--source", ENDLESS) as (_, url):
        for width, scheme in zip(WIDTHS, ("light", "dark"), strict=True):
            page, console, asked = opened(started, url, width, scheme)
            comes_true(page, "document.getElementById('picture').naturalWidth > 0")
            comes_true(page, "document.querySelectorAll('#stages tr').length > 4")
            before = page.inner_text("#frames")
            comes_true(page, f"document.getElementById('frames').textContent !== {json.dumps(before)}")
            comes_true(
                page, "document.querySelector('#rate-line polyline').getAttribute('points').split(' ').length > 1"
            )
            assert page.inner_text("#network") == "blob"
            assert (page.inner_text("#health"), page.inner_text("#state")) == ("healthy", "running")
            assert float(page.inner_text("#rate")) > 0
            text = page.inner_text("main")
            assert {"infer", "prepare", "draw"} <= set(text.split())
            assert "Nothing went wrong so far." in text
            assert page.is_visible("#picture")
            page.screenshot(path=str(tmp_path / f"{width}.png"), full_page=True)
            shown = cv2.imread(str(tmp_path / f"{width}.png"))
            assert shown is not None
            box = page.locator("#picture").bounding_box()
            picture = shown[int(box["y"]) : int(box["y"] + box["height"]), int(box["x"]) : int(box["x"] + box["width"])]
            # The film of the source has light and dark; a broken or empty picture has one colour.
            assert picture.std() > 5
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert console == []
            assert [address for address in asked if not address.startswith(url)] == []
            page.close()
        until(lambda: b'viewers{kind="pictures"} 0.0' in metrics(url), "nobody watching any more")


def metrics(url: str) -> bytes:
    with urllib.request.urlopen(f"{url}metrics", timeout=PATIENCE_S) as answer:
        body: bytes = answer.read()
        return body


@contextmanager
def fed(view: Served, *sources: str) -> Iterator[None]:
    """Frames of these sources, in turn, from another thread."""
    over = threading.Event()

    def feed() -> None:
        number = 0
        while not over.wait(0.03):
            view.show(*(output(number, source=source) for source in sources))
            number += 1

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_page_shows_each_source_trouble_and_the_end(tmp_path: Path) -> None:
    door, yard = "rtsp://***@door/live", '<img src=x onerror="alert(1)">'
    states = (SourceStatus(door, "running"), SourceStatus(yard, "restarting", dropped=5, skipped=1))
    with browser() as started, served(states=states, token="a-token-of-some-length") as view:
        page, console, _ = opened(started, f"{view.sink.url}?token=a-token-of-some-length", 1280, "light")
        with fed(view, door, yard):
            assert page.url == view.sink.url
            comes_true(page, "document.getElementById('picture').naturalWidth > 0")
            assert page.locator("#sources button").all_inner_texts() == [door, yard]
            assert (page.inner_text("#state"), page.inner_text("#dropped")) == ("running", "0")
            page.locator("#sources button").nth(1).click()
            comes_true(page, "document.getElementById('state').textContent === 'restarting'")
            assert page.inner_text("#dropped") == "5"
            assert page.inner_text("#source") == yard
            assert page.inner_text("#health") == "not healthy"
            assert page.inner_text("#reasons").strip() == f"source {yard} is restarting"
            comes_true(page, "document.querySelectorAll('#objects tr').length === 1")
            assert page.inner_text("#objects").split()[:2] == ["bolt", "0.90"]
            comes_true(page, "document.getElementById('picture').naturalWidth > 0")
        view.sink.close()
        page.wait_for_selector("#banner:not([hidden])")
        assert page.inner_text("#banner").startswith(("The run has ended", "Not connected"))
        assert page.inner_text("#health") == "not connected"
        # What the browser itself says of a server that is gone is no fault of the page.
        assert [line for line in console if "ERR_CONNECTION_REFUSED" not in line and "ERR_INCOMPLETE" not in line] == []
        page.close()
