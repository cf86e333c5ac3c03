"""Annotated pictures in a window of the desktop: `window:`, or `window:TITLE`.

q, Esc, or closing the window ends the run as Ctrl-C does.
"""

import os
import signal
import subprocess
import sys

import cv2

from edgewright.runtime.errors import SinkError
from edgewright.runtime.sinks import Output, Sink, SinkContext
from edgewright.runtime.uri import split_options

_ENDS = (27, ord("q"))  # Esc
_WIDEST = 1280
_PROBE_S = 20.0
_PROBE = "import cv2; cv2.namedWindow('probe'); cv2.waitKey(1); cv2.destroyAllWindows()"


def from_uri(text: str, context: SinkContext) -> "WindowSink":
    """A sink that shows every frame; SinkError when no window can be opened here."""
    title, _ = split_options("sink window", text, ())
    # Qt misses fonts that nothing here draws with.
    os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")
    _check_screen()
    return WindowSink(title or "edgewright")


class WindowSink(Sink):
    """One window; it opens with the first frame, at its size or 1280 pixels wide, and can be resized."""

    wants_picture = True

    def __init__(self, title: str) -> None:
        self._title = title
        self._open = self._ended = False

    def write(self, output: Output) -> None:
        if output.picture is None:
            raise SinkError(f"frame {output.frame.index} came to the sink window without a picture; pass it annotated")
        if self._ended:
            return
        if not self._open:
            height, width = output.picture.shape[:2]
            share = min(1.0, _WIDEST / width)
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
            cv2.resizeWindow(self._title, max(1, round(share * width)), max(1, round(share * height)))
            self._open = True
        elif cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            self._end()
            return
        cv2.imshow(self._title, output.picture)
        if cv2.waitKey(1) & 0xFF in _ENDS:
            self._end()

    def _end(self) -> None:
        # Once: a second signal would not wait for the frames that are on their way.
        self._ended = True
        signal.raise_signal(signal.SIGINT)

    def close(self) -> None:
        if self._open and cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1:
            cv2.destroyWindow(self._title)
        self._open = False


def _check_screen() -> None:
    """SinkError where OpenCV cannot open a window. It is tried in a process of its own: without a screen, Qt ends the process."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=_PROBE_S, check=False
        )
    except subprocess.TimeoutExpired:
        problem = f"the screen does not answer for {_PROBE_S:g} s"
    else:
        if done.returncode == 0:
            return
        problem = "this OpenCV was built without windows" if "not implemented" in done.stderr else "there is no screen"
    raise SinkError(
        f"window: {problem}; set DISPLAY to a screen with an OpenCV that has windows, show the run in a browser by --web :8080, "
        "or write video:FILE.mkv"
    )
