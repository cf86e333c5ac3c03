"""An annotated video: `video:out.mkv`, `video:out.mp4`, `video:out.avi?fps=25`.

Matroska (`.mkv`) can be played up to the last quarter of a MiB whatever ends the process, and so can `.avi`; an `.mp4` cannot
be played before it is closed, for its index stands at its end.
"""

import glob
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from edgewright.runtime.errors import SinkError
from edgewright.runtime.plugins import check_choice
from edgewright.runtime.results import Image
from edgewright.runtime.sinks import Output, Sink, SinkContext, make_folder, path_of
from edgewright.runtime.sinks._encoders import CHOICES, Writer, hardware_writer, software_writer
from edgewright.runtime.uri import positive_number, split_options

_log = logging.getLogger(__name__)
# A film of several sources would jump between them with every frame.
ONE_SOURCE = True
_CODECS = {".mkv": "mp4v", ".mp4": "mp4v", ".avi": "MJPG"}
# Pictures of no film are shown for half a second each; a live source that tells no rate is taken for a usual camera.
_STILLS_FPS, _LIVE_FPS = 2.0, 30.0
# An encoder tells nobody when the disk is full, and a film without its index cannot be played: stop while there is
# room for the index, about 32 bytes a frame.
_RESERVE_BYTES, _INDEX_BYTES_PER_FRAME = 4 << 20, 32
_LONGEST_GAP_S = 2.0


def from_uri(text: str, context: SinkContext) -> "VideoSink":
    """A sink that writes a film, at the rate of the source unless `fps` is given."""
    location, options = split_options("sink video", text, ("fps", "encoder"))
    fps = context.fps or (_LIVE_FPS if context.live else _STILLS_FPS)
    if "fps" in options:
        fps = positive_number("option fps of sink video", options["fps"], at_most=240)
    encoder = options.get("encoder", "auto")
    check_choice("option encoder of sink video", encoder, CHOICES)
    path = path_of("sink video", location, context)
    return VideoSink(path, fps=fps, live=context.live, encoder=encoder, tell=context.tell)


class VideoSink(Sink):
    """A film in the size of its first frame; other sizes are fitted in with black bars.

    It grows as `out.unfinished-PID.mkv` and gets its own name when it is closed, also after an error: a film of an earlier run
    is not lost before there is a new one. Frames of a live source are repeated or left out so that the film runs at the speed
    of life.
    """

    wants_picture = True

    def __init__(
        self,
        path: Path,
        *,
        fps: float,
        live: bool = False,
        encoder: str = "auto",
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        if path.suffix.lower() not in _CODECS:
            raise SinkError(f"video {path}: the suffix '{path.suffix}' is not known; use one of: {', '.join(_CODECS)}")
        make_folder(path.parent)
        if path.is_dir() or not os.access(path.parent, os.W_OK):
            raise SinkError(f"video {path} cannot be written; check its folder and permissions")
        self._path = path
        self._partial = path.with_name(f"{path.stem}.unfinished-{os.getpid()}{path.suffix}")
        self._fps = fps
        self._live = live
        self._encoder = encoder
        self._tell = tell
        if live and path.suffix.lower() == ".mp4":
            _log.warning("video %s: when the process is killed, an .mp4 cannot be played; use .mkv to be safe", path)
        _tell_of_unfinished(path)
        self._writer: Writer | None = None
        self._size_hw = (0, 0)
        self._start_s = 0.0
        self._frames = 0

    def write(self, output: Output) -> None:
        if output.picture is None:
            raise SinkError(f"frame {output.frame.index} came to the sink video without a picture; pass it annotated")
        self._check_room()
        if self._writer is None:
            self._open(output)
        picture = fit_into(output.picture, self._size_hw)
        for _ in range(self._copies(output.frame.time_s)):
            self._encode(picture)

    def close(self) -> None:
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        try:
            _check_playable(self._partial, self._path)
            os.replace(self._partial, self._path)
        except OSError as err:
            raise SinkError(f"video {self._path} cannot be finished: {err.strerror or err}") from err
        finally:
            self._partial.unlink(missing_ok=True)

    def _open(self, output: Output) -> None:
        h, w = output.frame.size_hw
        # Codecs store colour for blocks of 2 by 2 pixels and would cut an odd row off.
        self._size_hw = (h + h % 2, w + w % 2)
        self._start_s = output.frame.time_s
        in_hardware = hardware_writer(self._partial, self._fps, self._size_hw, self._encoder)
        if in_hardware is not None:
            self._writer, element = in_hardware
            self._tell(f"video {self._path}: encoded in hardware by {element}")
            return
        codec = _CODECS[self._path.suffix.lower()]
        writer = software_writer(self._partial, codec, self._fps, self._size_hw)
        if writer is None:
            self._partial.unlink(missing_ok=True)
            other = ".avi" if codec == "mp4v" else ".mp4"
            raise SinkError(
                f"video {self._path}: this OpenCV has no encoder '{codec}' for {w}x{h} at {self._fps:g} frames/s; "
                f"use the suffix {other}, or the sink images:"
            )
        self._writer = writer

    def _check_room(self) -> None:
        if self._writer is not None and not self._partial.exists():
            # What is written now would be lost; the next frame begins a new film, once there is a folder again.
            self._writer.release()
            self._writer, lost, self._frames = None, self._frames, 0
            raise SinkError(f"video {self._path} was removed while it was written, with {lost} frames")
        needed = _RESERVE_BYTES + _INDEX_BYTES_PER_FRAME * self._frames
        try:
            free = shutil.disk_usage(self._path.parent).free
        except OSError as err:
            raise SinkError(f"video {self._path} cannot be written: {err.strerror or err}") from err
        if free < needed:
            raise SinkError(
                f"video {self._path}: the disk is full ({free >> 20} MiB free, {needed >> 20} wanted); "
                f"the video ends after {self._frames} frames"
            )

    def _copies(self, time_s: float) -> int:
        if not self._live:
            return 1
        due = round((time_s - self._start_s) * self._fps) + 1
        longest = max(1, round(_LONGEST_GAP_S * self._fps))
        if due - self._frames > longest:
            # After a long gap the film goes on instead of standing still for as long.
            self._start_s += (due - self._frames - longest) / self._fps
            return longest
        return max(0, due - self._frames)

    def _encode(self, picture: Image) -> None:
        if self._writer is not None:
            self._writer.write(picture)
            self._frames += 1


def _tell_of_unfinished(path: Path) -> None:
    """Name what runs left behind that were killed; it is neither played nor removed unasked."""
    for film in path.parent.glob(f"{glob.escape(path.stem)}.unfinished-*{path.suffix}"):
        process = film.stem.rpartition("-")[2]
        if process.isdecimal() and not os.path.exists(f"/proc/{process}"):
            _log.warning("video %s was not finished, its run was killed; look at it or remove it", film)


def fit_into(picture: Image, size_hw: tuple[int, int]) -> Image:
    """The picture in the middle of a black one of `size_hw`, made smaller or larger to fit; itself when it has that size.

    One row or column less than `size_hw` is filled up at the end, not scaled.
    """
    h, w = picture.shape[:2]
    if (h, w) == size_hw:
        return picture
    canvas = np.zeros((*size_hw, 3), np.uint8)
    if 0 <= size_hw[0] - h <= 1 and 0 <= size_hw[1] - w <= 1:
        canvas[:h, :w] = picture
        return canvas
    ratio = min(size_hw[0] / h, size_hw[1] / w)
    fitted = (max(1, round(h * ratio)), max(1, round(w * ratio)))
    y, x = (size_hw[0] - fitted[0]) // 2, (size_hw[1] - fitted[1]) // 2
    how = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
    canvas[y : y + fitted[0], x : x + fitted[1]] = cv2.resize(picture, fitted[::-1], interpolation=how)
    return canvas


def _check_playable(partial: Path, path: Path) -> None:
    reader = cv2.VideoCapture(str(partial))
    try:
        if not reader.read()[0]:
            raise SinkError(f"video {path} cannot be played after writing it; the disk may be full or the codec broken")
    finally:
        reader.release()
