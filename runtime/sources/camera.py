"""A local camera by number or device file: `camera:0`, `camera:/dev/video2?format=mjpg&size=720x1280&fps=30`."""

import glob
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from edgewright.runtime.errors import SourceError, UsageError
from edgewright.runtime.results import Frame
from edgewright.runtime.sources import Source
from edgewright.runtime.uri import positive_number, size_hw, split_options

_log = logging.getLogger(__name__)
# A camera that starts, or a cable that is touched, spoils a few pictures in a row.
_FAILED_READS = 5


@dataclass(frozen=True)
class Mode:
    """What a camera is asked for: its pixel format as four letters, size and rate; None leaves it to the camera."""

    fourcc: str | None = None
    size_hw: tuple[int, int] | None = None
    fps: float | None = None


def from_uri(text: str) -> "CameraSource":
    """The camera with the number or device file `text`; SourceError when there is none or it is busy.

    Options: `format` (mjpg, yuyv, ...), `size` as HEIGHTxWIDTH, `fps`.
    """
    location, options = split_options("source camera", text, ("format", "size", "fps"))
    device = f"/dev/video{int(location)}" if location.isdecimal() else location
    if not device.startswith("/"):
        raise UsageError(f"camera '{location}' is neither a number nor a device file; say for example camera:0")
    return CameraSource(f"camera:{location}", device, _mode(options))


class CameraSource(Source):
    """Frames of one camera, without end. A picture that cannot be decoded is left out and counted."""

    live = True
    reopens = True

    def __init__(self, name: str, device: str, mode: Mode = Mode()) -> None:
        self.name = name
        self._device = device
        self._capture = _open_capture(name, device)
        _set_mode(self._capture, mode, name)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = float(fps) if 0 < fps < 1000 else None

    def __iter__(self) -> Iterator[Frame]:
        index = failed = 0
        while True:
            read, image = self._capture.read()
            if read:
                yield Frame(np.asarray(image, np.uint8), index, time.monotonic(), self.name)
                index, failed = index + 1, 0
                continue
            failed += 1
            if failed > _FAILED_READS or not os.path.exists(self._device):
                raise SourceError(self._reason_of_end(index))
            self.skipped += 1

    def close(self) -> None:
        self._capture.release()

    def _reason_of_end(self, frames: int) -> str:
        if not os.path.exists(self._device):
            return f"{self.name} was unplugged after {frames} frames: {self._device} is gone"
        if frames == 0:
            return f"{self.name} opened but gave no frame; another program may use it, or it needs another pixel format"
        return f"{self.name} stopped giving frames after {frames}; check its cable and power"


def _mode(options: dict[str, str]) -> Mode:
    fourcc, size, fps = options.get("format"), options.get("size"), options.get("fps")
    if fourcc is not None and len(fourcc) != 4:
        raise UsageError(f"option format of source camera must have four letters, such as mjpg or yuyv; got '{fourcc}'")
    return Mode(
        None if fourcc is None else fourcc.upper(),
        None if size is None else size_hw("option size of source camera", size),
        None if fps is None else positive_number("option fps of source camera", fps, at_most=1000),
    )


def _set_mode(capture: cv2.VideoCapture, mode: Mode, name: str) -> None:
    """Ask for `mode`, and say in the log what the camera gives instead: it takes what it has nearest."""
    # The format first: which sizes and rates there are depends on it.
    if mode.fourcc is not None:
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*mode.fourcc))
    if mode.size_hw is not None:
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, mode.size_hw[0])
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, mode.size_hw[1])
    if mode.fps is not None:
        capture.set(cv2.CAP_PROP_FPS, mode.fps)
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    got = Mode(
        bytes(code >> shift & 0xFF for shift in (0, 8, 16, 24)).decode("ascii", "replace"),
        (int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))),
        float(capture.get(cv2.CAP_PROP_FPS)),
    )
    for what in ("fourcc", "size_hw", "fps"):
        asked = getattr(mode, what)
        if asked is not None and asked != getattr(got, what):
            _log.warning("%s: %s %s was asked for, the camera gives %s", name, what, asked, getattr(got, what))


def _open_capture(name: str, device: str) -> cv2.VideoCapture:
    if not os.path.exists(device):
        there = sorted(glob.glob("/dev/video*"))
        found = f"this machine has: {', '.join(there)}" if there else "this machine shows no camera at all"
        raise SourceError(f"{name}: there is no {device}; {found}")
    if not os.access(device, os.R_OK | os.W_OK):
        raise SourceError(f"{name}: no permission for {device}; join its group with: sudo usermod -aG video $USER")
    capture = cv2.VideoCapture(device)
    if not capture.isOpened():
        raise SourceError(
            f"{name}: {device} cannot be opened as a camera; another program may use it, or it gives no video"
        )
    return capture
