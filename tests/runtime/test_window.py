"""A window on a real X server, where there is one, and what is said where there is none."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from tests.tiny import tiny_bundle

from edgewright.runtime.errors import SinkError
from edgewright.runtime.sinks import SinkContext, open_sink

CONTEXT = SinkContext(labels=("bolt",))


@pytest.fixture(scope="module")
def screen() -> Iterator[str]:
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed")
    if not cv2.currentUIFramework():
        pytest.skip("this OpenCV was built without windows")
    words = ["Xvfb", "-displayfd", "1", "-screen", "0", "800x600x24", "-nolisten", "tcp"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        yield f":{server.stdout.readline().strip()}"
        server.terminate()


def run(screen: str, folder: Path, *words: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """A run in a process of its own, for Qt ends the process that loses its screen; `before` is done to `cv2`."""
    code = f"import sys, cv2\n{before}\nfrom edgewright.pipeline.cli import main\nmain(sys.argv[1:])"
    line = [sys.executable, "-c", code, "run", str(tiny_bundle(folder).path), "--threads", "1", *words]
    return subprocess.run(
        line, env={**os.environ, "DISPLAY": screen}, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_run_shows_every_frame(screen: str, tmp_path: Path) -> None:
    told = "show = cv2.imshow\ncv2.imshow = lambda title, picture: (print('shown in', title), show(title, picture))"
    done = run(screen, tmp_path, "--source", "synthetic:1:3?size=64x96", "--sink", "window:Belt", before=told)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("shown in Belt") == 3


@pytest.mark.parametrize("before", ["cv2.waitKey = lambda _: 27", "cv2.getWindowProperty = lambda *_: 0.0"])
def test_a_key_and_a_closed_window_end_the_run_in_order(screen: str, tmp_path: Path, before: str) -> None:
    lines = tmp_path / "run.jsonl"
    sinks = ("--sink", f"jsonl:{lines}", "--sink", "window:")
    done = run(screen, tmp_path, "--source", "synthetic:1:500?size=64x96", *sinks, before=before)
    assert (done.returncode, done.stderr) == (0, "")
    assert 1 <= len(lines.read_text().splitlines()) < 500


def test_without_a_screen_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        SinkError, match=r"window: (there is no screen|this OpenCV was built without windows).* --web :8080"
    ):
        open_sink("window:", CONTEXT)
