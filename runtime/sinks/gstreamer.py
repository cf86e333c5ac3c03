"""Annotated frames into a GStreamer pipeline, for RTSP, HTTP, SRT and all else: `gstreamer:x264enc tune=zerolatency ! ...`.

A conversion is put in front, so that an encoder can come first. The pipeline takes what it has time for and never holds the run up;
one that failed, because the server at its other end went away, is started again.
"""

import logging
import time

from edgewright.runtime.errors import SinkError, UsageError
from edgewright.runtime.sinks import Output, Sink, SinkContext
from edgewright.runtime.sinks._appsrc import Pictures, check_available, open_pictures
from edgewright.runtime.sinks.video import fit_into
from edgewright.runtime.uri import masked, split_options

_log = logging.getLogger(__name__)
ONE_SOURCE = True
_USUAL_FPS = 30.0
_AGAIN_S = 2.0


def from_uri(text: str, context: SinkContext) -> "GStreamerSink":
    """The elements behind a conversion from BGR; the last of them is a sink of GStreamer's."""
    if "!" not in text:
        split_options("sink gstreamer", text)
    if not text.strip() or "appsrc" in text:
        raise UsageError(
            "sink gstreamer wants the elements behind the pictures, as in "
            "'gstreamer:x264enc tune=zerolatency ! rtspclientsink location=rtsp://host/live', without an appsrc of its own; got "
            f"'{masked(text)}'"
        )
    check_available(f"gstreamer:{masked(text)}")
    return GStreamerSink(text, fps=context.fps or _USUAL_FPS, live=context.live)


class GStreamerSink(Sink):
    """A pipeline in the size of its first frame; other sizes are fitted in with black bars."""

    wants_picture = True

    def __init__(self, pipeline: str, *, fps: float, live: bool = False) -> None:
        self._name = f"gstreamer:{masked(pipeline)}"
        self._pipeline = f"videoconvert ! {pipeline}"
        self._fps = fps
        self._live = live
        self._size_hw = (0, 0)
        self._pictures: Pictures | None = None
        self._not_before_s = 0.0
        self._failure = ""

    def write(self, output: Output) -> None:
        if output.picture is None:
            raise SinkError(
                f"frame {output.frame.index} came to the sink gstreamer without a picture; pass it annotated"
            )
        if time.monotonic() < self._not_before_s:
            raise SinkError(self._failure)
        try:
            if self._pictures is None:
                self._open(output.frame.size_hw)
            if self._pictures is not None:
                self._pictures.push(fit_into(output.picture, self._size_hw))
        except SinkError as err:
            self._failure = str(err)
            self._not_before_s = time.monotonic() + _AGAIN_S
            self._forget()
            raise

    def close(self) -> None:
        pictures, self._pictures = self._pictures, None
        if pictures is None:
            return
        try:
            pictures.close()
        except SinkError as err:
            if not self._live:
                raise
            # A run of a camera that ends well has not failed because a server is away just then.
            _log.warning("%s", err)

    def _open(self, size_hw: tuple[int, int]) -> None:
        # Most encoders want even sides.
        self._size_hw = (size_hw[0] + size_hw[0] % 2, size_hw[1] + size_hw[1] % 2)
        self._pictures = open_pictures(self._name, self._pipeline, self._size_hw, self._fps, live=True)

    def _forget(self) -> None:
        pictures, self._pictures = self._pictures, None
        if pictures is not None:
            pictures.abandon()
