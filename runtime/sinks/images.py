"""Annotated pictures as files in a folder: `images:out`, `images:out?format=png`.

A folder that holds pictures of an earlier run is refused, for nobody could tell them apart: `images:out?old=delete` removes
them, `?old=keep` adds to them, for a service that is started again; a picture of the same name is then replaced.
"""

import os
import re
from pathlib import Path

import cv2

from edgewright.runtime.errors import SinkError, UsageError
from edgewright.runtime.results import Frame
from edgewright.runtime.sinks import Output, Sink, SinkContext, make_folder, path_of
from edgewright.runtime.uri import file_word, split_options

_OLD = ("refuse", "keep", "delete")
_PICTURE = re.compile(r"[^.].*_\d{6,}\.(?:jpg|png)")
_FORMATS = {"jpg": [cv2.IMWRITE_JPEG_QUALITY, 92], "png": [cv2.IMWRITE_PNG_COMPRESSION, 3]}


def from_uri(text: str, context: SinkContext) -> "ImagesSink":
    """A sink that writes one picture per frame into a folder, which is made when it is missing."""
    location, options = split_options("sink images", text, ("format", "old"))
    chosen, old = options.get("format", "jpg"), options.get("old", "refuse")
    if chosen not in _FORMATS:
        raise UsageError(f"sink images has no format '{chosen}'; it has: {', '.join(_FORMATS)}")
    if old not in _OLD:
        raise UsageError(
            f"option old of sink images is '{old}'; it says what becomes of old pictures: {', '.join(_OLD)}"
        )
    return ImagesSink(path_of("sink images", location, context), chosen, old=old)


class ImagesSink(Sink):
    """Pictures named by the source and the index of the frame."""

    wants_picture = True

    def __init__(self, folder: Path, file_format: str, *, old: str = "refuse") -> None:
        self._folder = folder
        self._format = file_format
        make_folder(folder)
        if old != "keep":
            _clear(folder, delete=old == "delete")

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


def _clear(folder: Path, *, delete: bool) -> None:
    """Remove the pictures that a sink wrote into the folder, and nothing else; UsageError when they are to be kept."""
    try:
        pictures = [path for path in folder.iterdir() if _PICTURE.fullmatch(path.name)]
        if pictures and not delete:
            raise UsageError(
                f"folder {folder} holds pictures of an earlier run ({len(pictures)}); choose another one, or say "
                f"images:{folder}?old=delete to remove them, ?old=keep to add to them"
            )
        for path in pictures:
            path.unlink()
    except OSError as err:
        raise SinkError(f"folder {folder} cannot be cleared: {err.strerror or err}; check its permissions") from err


def picture_name(frame: Frame) -> str:
    """A file name without suffix that tells the source and the index: `street_000012`; of several sources with the name that
    it has among them, `door_street_000012`."""
    words = (file_word(name) for name in (frame.origin, frame.source))
    name = "_".join(dict.fromkeys(word for word in words if word))
    return f"{name or 'frame'}_{frame.index:06d}"
