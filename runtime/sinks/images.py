"""Annotated pictures as files in a folder: `images:out`, `images:out?format=png`."""

import os
import re
from pathlib import Path

import cv2

from edgewright.runtime.errors import SinkError, UsageError
from edgewright.runtime.results import Frame
from edgewright.runtime.sinks import Output, Sink, SinkContext, make_folder, path_of
from edgewright.runtime.uri import split_options

_FORMATS = {"jpg": [cv2.IMWRITE_JPEG_QUALITY, 92], "png": [cv2.IMWRITE_PNG_COMPRESSION, 3]}


def from_uri(text: str, context: SinkContext) -> "ImagesSink":
    """A sink that writes one picture per frame into a folder, which is made when it is missing."""
    location, options = split_options("sink images", text, ("format",))
    chosen = options.get("format", "jpg")
    if chosen not in _FORMATS:
        raise UsageError(f"sink images has no format '{chosen}'; it has: {', '.join(_FORMATS)}")
    return ImagesSink(path_of("sink images", location, context), chosen)


class ImagesSink(Sink):
    """Pictures named by the source and the index of the frame; those of an earlier run with the same name are replaced."""

    wants_picture = True

    def __init__(self, folder: Path, file_format: str) -> None:
        self._folder = folder
        self._format = file_format
        make_folder(folder)

    def write(self, output: Output) -> None:
        if output.picture is None:
            raise SinkError(f"frame {output.frame.index} came to the sink images without a picture; pass it annotated")
        path = self._folder / f"{picture_name(output.frame)}.{self._format}"
        done, data = cv2.imencode(path.suffix, output.picture, _FORMATS[self._format])
        if not done:
            raise SinkError(f"{path}: a picture of {output.frame.size_hw} cannot be stored as {self._format}")
        # No sync to the disk as for a file that must outlive a power cut: it costs more than the inference.
        temporary = path.with_name(f".{path.name}.part")
        try:
            temporary.write_bytes(data.tobytes())
            os.replace(temporary, path)
        except OSError as err:
            temporary.unlink(missing_ok=True)
            raise SinkError(f"{path} cannot be written: {err.strerror or err}") from err


def picture_name(frame: Frame) -> str:
    """A file name without suffix that tells the source and the index: `street_000012`."""
    # 50 characters are at most 200 of the 255 bytes that file systems allow.
    stem = re.sub(r"[^\w.-]+", "_", Path(frame.source).stem).strip("_")[:50]
    return f"{stem or 'frame'}_{frame.index:06d}"
