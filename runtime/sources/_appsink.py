"""A GStreamer pipeline by PyGObject, for an OpenCV that was built without GStreamer."""

from importlib import import_module
from typing import Any

import numpy as np

from edgewright.runtime.errors import SourceError
from edgewright.runtime.results import Image
from edgewright.runtime.uri import masked

_LOOK_NS = 100_000_000


class AppSink:
    """A running pipeline whose `appsink` gives BGR; a `gi` that lacks GStreamer is a SourceError."""

    def __init__(self, name: str, pipeline: str) -> None:
        self._name = name
        self._gst = gstreamer(name)
        try:
            self._pipeline: Any = self._gst.parse_launch(pipeline)
        except self._gst.glib_error as err:
            raise SourceError(f"{name} is no pipeline: {masked(str(err))}") from err
        sinks = self._pipeline.iterate_sinks()
        self._sink: Any = self._pipeline.get_by_name("edgewright") or sinks.next()[1]
        self._pipeline.set_state(self._gst.Gst.State.PLAYING)

    def read(self) -> Image | None:
        gst = self._gst.Gst
        while (sample := self._sink.try_pull_sample(_LOOK_NS)) is None:
            message = self._pipeline.get_bus().pop_filtered(gst.MessageType.ERROR)
            if message is not None:
                raise SourceError(f"{self._name} failed: {masked(message.parse_error()[0].message)}")
            if self._sink.is_eos():
                return None
        return self._image(sample)

    def close(self) -> None:
        self._pipeline.set_state(self._gst.Gst.State.NULL)

    def _image(self, sample: Any) -> Image:
        shape = sample.get_caps().get_structure(0)
        height, width = shape.get_value("height"), shape.get_value("width")
        buffer = sample.get_buffer()
        mapped, content = buffer.map(self._gst.Gst.MapFlags.READ)
        if not mapped:
            raise SourceError(f"{self._name}: a picture cannot be read from memory")
        try:
            # Rows are padded to a multiple of 4 bytes; the buffer is overwritten when it is given back.
            rows = np.frombuffer(content.data, np.uint8).reshape(height, -1)
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
