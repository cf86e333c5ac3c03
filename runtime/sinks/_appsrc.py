"""A GStreamer pipeline that is fed with pictures, by OpenCV when it was built with GStreamer, else by PyGObject."""

import importlib.util
import threading
from typing import Any, Protocol

import cv2
import numpy as np

from edgewright.runtime.errors import SinkError, SourceError, first_line
from edgewright.runtime.results import Image
from edgewright.runtime.sources.gstreamer import opencv_has_gstreamer
from edgewright.runtime.uri import masked

# For the pipeline to write what it still holds.
_LEAVE_S = 10.0


class Pictures(Protocol):
    """Takes BGR pictures of one size; `push` says by SinkError why the pipeline failed. `close` lets it finish, `abandon` does
    not, and does not wait: what a pipeline does when it ends may take as long as a network likes."""

    def push(self, image: Image) -> None: ...
    def close(self) -> None: ...
    def abandon(self) -> None: ...


def open_pictures(name: str, pipeline: str, size_hw: tuple[int, int], fps: float, *, live: bool) -> Pictures:
    """The running pipeline, whose first element takes raw video.

    A `live` one never makes its feeder wait: what it has no time for is left out. Of another, nothing is.
    """
    check_available(name)
    whole = f"queue leaky=downstream max-size-buffers=2 ! {pipeline}" if live else pipeline
    if opencv_has_gstreamer():
        return _OpenCvPipeline(name, f"appsrc ! {whole}", size_hw, fps)
    return _AppSrc(name, whole, size_hw, fps, live=live)


def check_available(name: str) -> None:
    """SinkError that says what to install where there is no GStreamer for Python."""
    if opencv_has_gstreamer() or importlib.util.find_spec("gi") is not None:
        return
    raise SinkError(
        f"{name}: this OpenCV was built without GStreamer and PyGObject is not installed; use the OpenCV of the system (JetPack: "
        "`python3-opencv`), or install `python3-gi gstreamer1.0-plugins-base` for the system's Python (an environment sees it when made "
        "with --system-site-packages)"
    )


class _OpenCvPipeline:
    def __init__(self, name: str, pipeline: str, size_hw: tuple[int, int], fps: float) -> None:
        self._writer = cv2.VideoWriter(pipeline, cv2.CAP_GSTREAMER, 0, fps, size_hw[::-1])
        if not self._writer.isOpened():
            raise SinkError(
                f"{name} does not start; try the pipeline with gst-launch-1.0 and videotestsrc, which says why"
            )

    def push(self, image: Image) -> None:
        self._writer.write(image)

    def close(self) -> None:
        self._writer.release()

    def abandon(self) -> None:
        threading.Thread(target=self._writer.release, name="edgewright end of a pipeline", daemon=True).start()


class _AppSrc:
    def __init__(self, name: str, pipeline: str, size_hw: tuple[int, int], fps: float, *, live: bool) -> None:
        from edgewright.runtime.sources._appsink import gstreamer

        self._name = name
        try:
            self._gst = gstreamer(name)
            self._pipeline: Any = self._gst.parse_launch(f"appsrc name=edgewright ! {pipeline}")
        except SourceError as err:
            raise SinkError(str(err)) from err
        except self._gst.glib_error as err:
            raise SinkError(f"{name} is no pipeline: {masked(first_line(err))}") from err
        self._fps = fps
        self._frames = 0
        # Rows are as long as a multiple of 4 bytes.
        self._row_bytes = (3 * size_hw[1] + 3) // 4 * 4
        self._source = self._configured(size_hw, live)
        self._pipeline.set_state(self._gst.Gst.State.PLAYING)

    def push(self, image: Image) -> None:
        gst = self._gst.Gst
        rows = image.reshape(image.shape[0], -1)
        buffer = gst.Buffer.new_wrapped(np.pad(rows, ((0, 0), (0, self._row_bytes - rows.shape[1]))).tobytes())
        buffer.pts = round(self._frames / self._fps * gst.SECOND)
        buffer.duration = round(gst.SECOND / self._fps)
        self._frames += 1
        flow = self._source.emit("push-buffer", buffer)
        self._raise_failure()
        if flow != gst.FlowReturn.OK:
            raise SinkError(f"{self._name} takes no more pictures ({flow.value_nick})")

    def close(self) -> None:
        gst = self._gst.Gst
        self._source.emit("end-of-stream")
        message = self._pipeline.get_bus().timed_pop_filtered(
            round(_LEAVE_S * gst.SECOND), gst.MessageType.EOS | gst.MessageType.ERROR
        )
        self._pipeline.set_state(gst.State.NULL)
        if message is None:
            raise SinkError(f"{self._name} did not finish within {_LEAVE_S:g} s")
        if message.type == gst.MessageType.ERROR:
            raise SinkError(self._failure(message))

    def abandon(self) -> None:
        null = self._gst.Gst.State.NULL
        threading.Thread(
            target=self._pipeline.set_state, args=(null,), name="edgewright end of a pipeline", daemon=True
        ).start()

    def _configured(self, size_hw: tuple[int, int], live: bool) -> Any:
        source = self._pipeline.get_by_name("edgewright")
        # A rate such as 29.97 is a fraction there; the times of the pictures are exact in any case.
        caps = f"video/x-raw,format=BGR,width={size_hw[1]},height={size_hw[0]},framerate={round(self._fps * 1000)}/1000"
        source.set_property("caps", self._gst.Gst.Caps.from_string(caps))
        source.set_property("format", self._gst.Gst.Format.TIME)
        source.set_property("is-live", live)
        source.set_property("do-timestamp", False)
        # About two pictures: a file's encoder slows its feeder down, and a live pipeline has a queue that leaks.
        source.set_property("max-bytes", 2 * self._row_bytes * size_hw[0])
        source.set_property("block", not live)
        return source

    def _raise_failure(self) -> None:
        message = self._pipeline.get_bus().pop_filtered(self._gst.Gst.MessageType.ERROR)
        if message is not None:
            raise SinkError(self._failure(message))

    def _failure(self, message: Any) -> str:
        return f"{self._name} failed: {masked(message.parse_error()[0].message)}"
