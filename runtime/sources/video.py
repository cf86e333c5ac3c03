"""A video file, as fast as it decodes, or at a speed as if it were live: `video:clip.mp4?speed=1`."""

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from edgewright.runtime.errors import SourceError
from edgewright.runtime.results import Frame
from edgewright.runtime.sources import Source
from edgewright.runtime.uri import positive_number, split_options

_log = logging.getLogger(__name__)
# Boxes at the top level of MP4 and QuickTime files; ISO/IEC 14496-12, section 4.2 and 6.
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


def from_uri(text: str) -> "VideoSource":
    """The video file at path `text`; SourceError when it is missing or is no video."""
    location, options = split_options("source video", text, ("speed",))
    speed = options.get("speed")
    return VideoSource(
        Path(location),
        speed=None if speed is None else positive_number("option speed of source video", speed, at_most=1000),
    )


class VideoSource(Source):
    """Frames of a video file, upright as its rotation metadata says, with their media time as `meta["pos_msec"]`.

    The frame count of a file is a claim of its header: it becomes `length` for progress bars and nothing depends on it. With
    a `speed`, 1 being that of life, frames come when they are due, as from a camera.
    """

    def __init__(self, path: Path, *, speed: float | None = None) -> None:
        self.name = str(path)
        self._path = path
        self._capture = _open_capture(path)
        count, fps = self._capture.get(cv2.CAP_PROP_FRAME_COUNT), self._capture.get(cv2.CAP_PROP_FPS)
        self.length = int(count) if 0 < count < 2**31 else None
        self.fps = float(fps) * (speed or 1) if 0 < fps < 1000 else None
        self.live = speed is not None
        self._speed = speed

    def __iter__(self) -> Iterator[Frame]:
        start, index = time.monotonic(), 0
        while True:
            read, image = self._capture.read()
            if not read:
                break
            meta = {"pos_msec": self._capture.get(cv2.CAP_PROP_POS_MSEC)}
            if self._speed is not None:
                time.sleep(max(0.0, start + meta["pos_msec"] / 1000 / self._speed - time.monotonic()))
            yield Frame(np.asarray(image, np.uint8), index, time.monotonic(), self.name, meta=meta)
            index += 1
        self._check_end(index)

    def close(self) -> None:
        self._capture.release()

    def _check_end(self, frames: int) -> None:
        missing = _missing_bytes(self._path)
        if missing > 0:
            raise SourceError(
                f"{self.name} breaks off after frame {frames} of {self.length or 'unknown'}: the file is cut off, "
                f"{missing} bytes are missing at its end; copy it again"
            )
        if frames == 0:
            raise SourceError(f"{self.name} holds no frame that can be decoded; check it in a video player")
        # Headers of whole files are off by a few frames, or by those that an edit list hides.
        if self.length is not None and frames < 0.95 * self.length:
            _log.warning("%s: %d frames decoded, its header claims %d", self.name, frames, self.length)


def _open_capture(path: Path) -> cv2.VideoCapture:
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as err:
        raise SourceError(f"video {path} cannot be read: {err.strerror or err}; check the path") from err
    if empty:
        raise SourceError(f"video {path} is an empty file (0 bytes); copy or record it again")
    # FFmpeg would print its own view of a bad file beside the one sentence below; whoever wants it sets the variable.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        missing = _missing_bytes(path)
        reason = (
            f"it is cut off, {missing} bytes are missing" if missing > 0 else "it is no video that OpenCV can decode"
        )
        raise SourceError(f"video {path} cannot be opened: {reason}; try it in a video player, or convert it to MP4")
    return capture


def _missing_bytes(path: Path) -> int:
    """How many bytes the boxes of an MP4 or QuickTime file promise beyond its end; 0 for any other file."""
    size, position = path.stat().st_size, 0
    with path.open("rb") as file:
        while position + 8 <= size:
            file.seek(position)
            header = file.read(16)
            if position == 0 and header[4:8] not in _FIRST_BOXES:
                return 0
            length = int.from_bytes(header[:4], "big")
            if length == 1:
                length = int.from_bytes(header[8:16], "big")
            if length < 8:
                # 0 means "up to the end of the file", anything else is no box.
                return 0
            position += length
    return max(0, position - size)
