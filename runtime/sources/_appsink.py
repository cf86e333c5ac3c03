"""A GStreamer pipeline by PyGObject, for an OpenCV that was built without GStreamer."""

import ctypes
import time
from contextlib import suppress
from importlib import import_module
from typing import Any

import numpy as np

from edgewright.runtime.errors import SourceError
from edgewright.runtime.results import Image
from edgewright.runtime.uri import masked

_LOOK_NS = 100_000_000
# Until a pipeline has its first picture, or knows that it will have one only when it runs.
_START_S = 10.0


class AppSink:
    """A running pipeline whose `appsink` gives BGR; a `gi` that lacks GStreamer is a SourceError.

    It is `live` when its pictures come at their own pace, as GStreamer knows of cameras and streams, and not of files. Their
    rate, `fps`, is None where it varies.
    """

    def __init__(self, name: str, pipeline: str) -> None:
        self._name = name
        library = gstreamer(name)
        self._gst = library.Gst
        try:
            self._pipeline: Any = library.parse_launch(pipeline)
        except library.glib_error as err:
            raise SourceError(f"{name} is no pipeline: {masked(str(err))}") from err
        try:
            self._sink = self._find_sink()
            self.live = self._is_live()
            if not self.live and self._sink.get_name() == "edgewright":
                # A file gives all its frames, and waits until they are taken.
                self._sink.set_property("drop", False)
            self._pipeline.set_state(self._gst.State.PLAYING)
            self.fps = self._rate()
        except BaseException:
            self.close()
            raise

    def read(self) -> Image | None:
        while (sample := self._sink.try_pull_sample(_LOOK_NS)) is None:
            # Asked for first, since a failure is told before the end that it brings.
            ended = self._sink.is_eos()
            self._raise_failure()
            if ended:
                return None
        return self._image(sample)

    def close(self) -> None:
        self._pipeline.set_state(self._gst.State.NULL)

    def _find_sink(self) -> Any:
        named = self._pipeline.get_by_name("edgewright")
        if named is not None:
            return named
        sinks = self._pipeline.iterate_sinks()
        while (found := sinks.next())[0] == self._gst.IteratorResult.OK:
            if found[1].get_factory().get_name() == "appsink":
                return found[1]
        raise SourceError(f"{self._name}: its appsink is no end of the pipeline; put it behind the last element")

    def _is_live(self) -> bool:
        self._pipeline.set_state(self._gst.State.PAUSED)
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            change = self._pipeline.get_state(_LOOK_NS)[0]
            self._raise_failure()
            if change == self._gst.StateChangeReturn.FAILURE:
                # The reason comes by another way than the failure.
                self._raise_failure(wait_ns=10 * _LOOK_NS)
                raise SourceError(f"{self._name} does not start; try the pipeline with gst-launch-1.0, which says more")
            if change != self._gst.StateChangeReturn.ASYNC:
                return bool(change == self._gst.StateChangeReturn.NO_PREROLL)
        # A stream whose other end says nothing yet.
        return True

    def _rate(self) -> float | None:
        """Frames a second, known with the first picture; None when it does not come soon. A camera may refuse until then."""
        deadline = time.monotonic() + _START_S
        while (caps := self._sink.get_static_pad("sink").get_current_caps()) is None and not self._sink.is_eos():
            self._raise_failure(wait_ns=_LOOK_NS // 5)
            if time.monotonic() > deadline:
                return None
        known, above, below = (False, 0, 1) if caps is None else caps.get_structure(0).get_fraction("framerate")
        return above / below if known and 0 < above < 1000 * below else None

    def _raise_failure(self, wait_ns: int = 0) -> None:
        message = self._pipeline.get_bus().timed_pop_filtered(wait_ns, self._gst.MessageType.ERROR)
        if message is not None:
            raise SourceError(f"{self._name} failed: {masked(message.parse_error()[0].message)}")

    def _image(self, sample: Any) -> Image:
        shape = sample.get_caps().get_structure(0)
        if shape.get_value("format") != "BGR":
            raise SourceError(
                f"{self._name}: its appsink gets {shape.get_value('format') or shape.get_name()}, and BGR is wanted; put "
                "`videoconvert ! video/x-raw,format=BGR` before it, or leave the appsink out"
            )
        height, width = shape.get_value("height"), shape.get_value("width")
        buffer = sample.get_buffer()
        mapped, content = buffer.map(self._gst.MapFlags.READ)
        if not mapped:
            raise SourceError(f"{self._name}: a picture cannot be read from memory")
        try:
            # Rows are padded to a multiple of 4 bytes; the buffer is overwritten when it is given back.
            row = (3 * width + 3) // 4 * 4
            rows = np.frombuffer(content.data, np.uint8, row * height).reshape(height, row)
            return rows[:, : 3 * width].reshape(height, width, 3).copy()
        finally:
            buffer.unmap(content)


class Library:
    """The parts of GStreamer that are used."""

    def __init__(self, gst: Any, glib_error: type[Exception]) -> None:
        self.Gst = gst
        self.parse_launch = gst.parse_launch
        self.glib_error = glib_error


def gstreamer(name: str) -> Library:
    """GStreamer by PyGObject, started; SourceError when that cannot be."""
    _keep_one_unwinder()
    try:
        gi: Any = import_module("gi")
        # GstApp gives appsinks their methods.
        for library in ("Gst", "GstApp"):
            gi.require_version(library, "1.0")
            import_module(f"gi.repository.{library}")
    except (ImportError, ValueError) as err:
        raise SourceError(f"{name}: PyGObject has no GStreamer ({err}); install gir1.2-gst-plugins-base-1.0") from err
    libraries: Any = import_module("gi.repository")
    libraries.Gst.init(None)
    return Library(libraries.Gst, libraries.GLib.Error)


def _keep_one_unwinder() -> None:
    """Debian's GStreamer brings libunwind, whose functions of the same names then take the place of those of GCC for libraries that
    are loaded before, and the next C++ exception in OpenVINO ends the process. What is global first is found first."""
    with suppress(OSError):
        ctypes.CDLL("libgcc_s.so.1", mode=ctypes.RTLD_GLOBAL)
