"""Which encoder writes a film: one in hardware, where a trial shows that it works, else OpenCV's."""

import glob
import logging
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol, cast

import cv2

from edgewright.runtime.errors import SinkError
from edgewright.runtime.results import Image
from edgewright.runtime.sinks._appsrc import Pictures, open_pictures

_log = logging.getLogger(__name__)
CHOICES = ("auto", "hardware", "software")
_TRIAL_S = 10.0
# H.264 is stored in these; an .avi holds single JPEG pictures.
_MUXERS = {".mp4": "mp4mux", ".mkv": "matroskamux"}


@dataclass(frozen=True)
class HardwareEncoder:
    """A GStreamer element that encodes H.264, with what it needs in front, and the device files that are there where it works."""

    element: str
    pipeline: str
    devices: str


# The first that works is used: that of a Jetson, of an NVIDIA card, of a board such as a Raspberry Pi, of an Intel or AMD GPU.
HARDWARE = (
    HardwareEncoder(
        "nvv4l2h264enc",
        "videoconvert ! video/x-raw,format=BGRx ! nvvidconv ! video/x-raw(memory:NVMM),format=NV12 ! nvv4l2h264enc",
        "/dev/*nvenc*",
    ),
    HardwareEncoder("nvh264enc", "videoconvert ! nvh264enc", "/dev/nvidia[0-9]*"),
    HardwareEncoder("v4l2h264enc", "videoconvert ! v4l2h264enc ! video/x-h264,level=(string)4", "/dev/video1[0-9]"),
    HardwareEncoder("vah264enc", "videoconvert ! vah264enc", "/dev/dri/renderD*"),
)


class Writer(Protocol):
    """What a film is written with, as `cv2.VideoWriter` has it."""

    def write(self, image: Image, /) -> None: ...
    def release(self) -> None: ...


def hardware_writer(path: Path, fps: float, size_hw: tuple[int, int], choice: str) -> tuple[Writer, str] | None:
    """A film written by hardware, and the encoder's name; None where OpenCV's own is to be used.

    SinkError when `choice` is "hardware" and there is none; "auto" then goes on without.
    """
    if choice == "software" or (choice == "auto" and path.suffix.lower() not in _MUXERS):
        return None
    try:
        muxer = _MUXERS.get(path.suffix.lower())
        if muxer is None:
            raise SinkError(f"video {path}: hardware encodes H.264, which goes into {' or '.join(_MUXERS)}")
        encoder = working_encoder()
        location = str(path).replace("\\", "\\\\").replace('"', '\\"')
        pipeline = f'{encoder.pipeline} ! h264parse ! {muxer} ! filesink location="{location}"'
        return _Film(open_pictures(f"video {path}", pipeline, size_hw, fps, live=False)), encoder.element
    except SinkError as err:
        if choice == "hardware":
            raise
        _log.debug("no hardware encoder: %s", err)
        return None


@lru_cache(maxsize=1)
def working_encoder() -> HardwareEncoder:
    """The first encoder in hardware that encodes a few pictures when it is tried; SinkError that says why none does."""
    there = [encoder for encoder in HARDWARE if glob.glob(encoder.devices)]
    if not there:
        raise SinkError(
            "this machine shows no encoder in hardware (no "
            f"{', '.join(encoder.devices for encoder in HARDWARE)}); use encoder=software"
        )
    if shutil.which("gst-launch-1.0") is None:
        raise SinkError("gst-launch-1.0 is missing, which tries encoders; install gstreamer1.0-tools")
    reasons = []
    for encoder in there:
        reason = _trial(encoder)
        if reason is None:
            return encoder
        reasons.append(f"{encoder.element}: {reason}")
    raise SinkError(f"no encoder in hardware works ({'; '.join(reasons)}); use encoder=software")


def _trial(encoder: HardwareEncoder) -> str | None:
    """Why the encoder does not work, None when it does: an element may be installed on a board without the circuit for it."""
    source = "videotestsrc num-buffers=3 ! video/x-raw,format=BGR,width=640,height=480,framerate=30/1"
    words = f"{source} ! {encoder.pipeline} ! fakesink".split()
    try:
        done = subprocess.run(["gst-launch-1.0", "-q", *words], capture_output=True, text=True, timeout=_TRIAL_S)
    except subprocess.TimeoutExpired:
        return f"no picture within {_TRIAL_S:g} s"
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.splitlines() if "ERROR" in line or "no element" in line]
    return (lines or ["it fails"])[0].strip()[:200]


class _Film:
    """A pipeline that is written to as OpenCV's writer is."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures

    def write(self, image: Image, /) -> None:
        self._pictures.push(image)

    def release(self) -> None:
        self._pictures.close()


def software_writer(path: Path, fourcc: str, fps: float, size_hw: tuple[int, int]) -> Writer | None:
    """OpenCV's own writer; None when it has no such encoder."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*fourcc), fps, size_hw[::-1])
    # Its stubs know `write` for UMat too, which makes it no Writer for a type checker.
    return cast("Writer", writer) if writer.isOpened() else None
