"""A network camera: `rtsp://user:password@host/path`, with `transport=udp` and `timeout=SECONDS` in its query if wanted."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np

from edgewright.runtime.errors import SourceError, UsageError
from edgewright.runtime.results import Frame
from edgewright.runtime.sources import Source
from edgewright.runtime.uri import masked, positive_number, split_options, take_options

_TRANSPORTS = ("tcp", "udp")
_TIMEOUT_S = 10.0
_OPTIONS_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
# OpenCV takes FFmpeg's options from the environment of the process only.
_environment = threading.Lock()


def from_uri(text: str) -> "StreamSource":
    """The stream at `//host...`, or at a whole address `rtsp://...` or `rtsps://...`.

    `transport` and `timeout` are taken out of its query; everything else there belongs to the camera.
    """
    address = f"rtsp:{text}" if text.startswith("//") else text
    if not address.startswith(("rtsp://", "rtsps://")):
        split_options("source rtsp", text, ("transport", "timeout"))
        raise UsageError(f"source rtsp wants an address such as rtsp://host:554/stream, got '{masked(text)}'")
    url, options = take_options(address, ("transport", "timeout"))
    transport = options.get("transport", "tcp")
    if transport not in _TRANSPORTS:
        raise UsageError(f"option transport of source rtsp must be one of: {', '.join(_TRANSPORTS)}; got '{transport}'")
    timeout_s = positive_number("option timeout of source rtsp", options.get("timeout", f"{_TIMEOUT_S}"), at_most=600)
    return StreamSource(url, timeout_s=timeout_s, ffmpeg={"rtsp_transport": transport})


class StreamSource(Source):
    """Frames of a stream that FFmpeg opens, as they come. Its `name`, and every message, is without user and password."""

    live = True
    reopens = True

    def __init__(self, url: str, *, timeout_s: float = _TIMEOUT_S, ffmpeg: dict[str, str] | None = None) -> None:
        self.name = masked(url)
        self._timeout_s = timeout_s
        self._capture = _open_capture(url, timeout_s, {"fflags": "nobuffer", "flags": "low_delay", **(ffmpeg or {})})
        if not self._capture.isOpened():
            raise SourceError(
                f"{self.name} cannot be opened within {timeout_s:g} s; check that the camera is on and reachable, the path, "
                "and the user and password"
            )
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = float(fps) if 0 < fps < 1000 else None

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while True:
            read, image = self._capture.read()
            if not read:
                raise SourceError(
                    f"{self.name} ended, or gave nothing for {self._timeout_s:g} s, after {index} frames; check the camera "
                    "and the network"
                )
            yield Frame(np.asarray(image, np.uint8), index, time.monotonic(), self.name)
            index += 1

    def close(self) -> None:
        self._capture.release()


@contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV's own warning about a stream that cannot be opened says less than the error that follows."""
    # Some versions have the one, some the other, and some neither.
    levels: Any = cv2 if hasattr(cv2, "setLogLevel") else getattr(getattr(cv2, "utils", None), "logging", None)
    if levels is None:
        yield
        return
    before = levels.getLogLevel()
    # Errors only: cv::utils::logging::LOG_LEVEL_ERROR.
    levels.setLogLevel(min(before, 2))
    try:
        yield
    finally:
        levels.setLogLevel(before)


def _open_capture(url: str, timeout_s: float, ffmpeg: dict[str, str]) -> cv2.VideoCapture:
    # FFmpeg itself would write the address with its password on stderr.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    names = ("CAP_PROP_OPEN_TIMEOUT_MSEC", "CAP_PROP_READ_TIMEOUT_MSEC")
    # OpenCV has them since 4.5.3; before, it waits 30 s.
    timeouts = [value for name in names if hasattr(cv2, name) for value in (getattr(cv2, name), int(timeout_s * 1000))]
    with _environment, _quiet():
        before = os.environ.get(_OPTIONS_VARIABLE)
        # What somebody has set there is meant.
        if before is None:
            os.environ[_OPTIONS_VARIABLE] = "|".join(f"{name};{value}" for name, value in ffmpeg.items())
        try:
            return (
                cv2.VideoCapture(url, cv2.CAP_FFMPEG, timeouts) if timeouts else cv2.VideoCapture(url, cv2.CAP_FFMPEG)
            )
        finally:
            if before is None:
                del os.environ[_OPTIONS_VARIABLE]
