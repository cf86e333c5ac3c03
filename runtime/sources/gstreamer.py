"""Any GStreamer pipeline: `gstreamer:videotestsrc is-live=true ! video/x-raw,width=640,height=480`."""

import importlib.util
import logging
import re
import time
from collections.abc import Iterator
from typing import Protocol

import cv2
import numpy as np

from edgewright.runtime.errors import SourceError, UsageError
from edgewright.runtime.results import Frame, Image
from edgewright.runtime.sources import Source
from edgewright.runtime.uri import masked, split_options

_log = logging.getLogger(__name__)
# One picture at most waits, and none waits for the clock of the pipeline.
_SINK = "videoconvert ! video/x-raw,format=BGR ! appsink name=edgewright drop=true max-buffers=1 sync=false"


class Pictures(Protocol):
    """A pipeline that runs. `read` gives None at its end, and says by SourceError why it failed."""

    live: bool
    fps: float | None

    def read(self) -> Image | None: ...
    def close(self) -> None: ...


def from_uri(text: str) -> "GStreamerSource":
    """The pipeline `text`, whose last element gives raw video; a conversion and an `appsink` are put behind it."""
    if "!" not in text:
        split_options("source gstreamer", text)
        raise UsageError(f"source gstreamer wants elements with '!' between them, got '{masked(text)}'")
    return open_pipeline(f"gstreamer:{masked(text)}", text)


def open_pipeline(name: str, pipeline: str) -> "GStreamerSource":
    """The running pipeline, by OpenCV when it was built with GStreamer, else by PyGObject; SourceError without either."""
    whole = pipeline if re.search(r"!\s*appsink\b", pipeline) else f"{pipeline} ! {_SINK}"
    if opencv_has_gstreamer():
        _log.info("%s: GStreamer by OpenCV", name)
        return GStreamerSource(name, _OpenCvPipeline(name, whole))
    if importlib.util.find_spec("gi") is not None:
        from edgewright.runtime.sources._appsink import AppSink

        _log.info("%s: this OpenCV has no GStreamer, PyGObject is used", name)
        return GStreamerSource(name, AppSink(name, whole))
    raise SourceError(
        f"{name}: this OpenCV was built without GStreamer and PyGObject is not installed; use the OpenCV of the system (JetPack: "
        "`python3-opencv`), install `python3-gi gstreamer1.0-plugins-base` for the system's Python (an environment sees it when made "
        "with --system-site-packages), or read a network camera by rtsp:// and a local one by camera:, which need neither"
    )


def opencv_has_gstreamer() -> bool:
    """Whether this OpenCV was built with GStreamer."""
    return re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()) is not None


class GStreamerSource(Source):
    """Frames of a running pipeline: of a live one as they come, and its end is a failure; of any other one all, to its end."""

    def __init__(self, name: str, pictures: Pictures) -> None:
        self.name = name
        self.live = self.reopens = pictures.live
        self.fps = pictures.fps
        self._pictures = pictures

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while (image := self._pictures.read()) is not None:
            yield Frame(image, index, time.monotonic(), self.name)
            index += 1
        if self.live or index == 0:
            raise SourceError(f"{self.name} ended after {index} frames")

    def close(self) -> None:
        self._pictures.close()


class _OpenCvPipeline:
    # OpenCV does not say whether it is, and a camera's end must not end a run.
    live = True
    fps: float | None = None

    def __init__(self, name: str, pipeline: str) -> None:
        self._capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
        if not self._capture.isOpened():
            raise SourceError(f"{name} does not start; try the pipeline with gst-launch-1.0, which says why")

    def read(self) -> Image | None:
        read, image = self._capture.read()
        return np.asarray(image, np.uint8) if read else None

    def close(self) -> None:
        self._capture.release()
