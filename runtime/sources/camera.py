"""A local camera by number or device file: `camera:0`, `camera:/dev/video2`."""

import glob
import os
import time
from collections.abc import Iterator

import cv2
import numpy as np

from edgewright.runtime.errors import SourceError, UsageError
from edgewright.runtime.results import Frame
from edgewright.runtime.sources import Source
from edgewright.runtime.uri import split_options


def from_uri(text: str) -> "CameraSource":
    """The camera with the number or device file `text`; SourceError when there is none or it is busy."""
    location, _ = split_options("source camera", text)
    device = f"/dev/video{int(location)}" if location.isdecimal() else location
    if not device.startswith("/"):
        raise UsageError(f"camera '{location}' is neither a number nor a device file; say for example camera:0")
    return CameraSource(f"camera:{location}", device)


class CameraSource(Source):
    """Frames of one camera, without end."""

    live = True

    def __init__(self, name: str, device: str) -> None:
        self.name = name
        self._device = device
        self._capture = _open_capture(name, device)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = float(fps) if 0 < fps < 1000 else None

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while True:
            read, image = self._capture.read()
            if not read:
                raise SourceError(self._reason_of_end(index))
            yield Frame(np.asarray(image, np.uint8), index, time.monotonic(), self.name)
            index += 1

    def close(self) -> None:
        self._capture.release()

    def _reason_of_end(self, frames: int) -> str:
        if not os.path.exists(self._device):
            return f"{self.name} was unplugged after {frames} frames: {self._device} is gone"
        if frames == 0:
            return f"{self.name} opened but gave no frame; another program may use it, or it needs another pixel format"
        return f"{self.name} stopped giving frames after {frames}; check its cable and power"


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
