"""A recording that another network can be run on: frames as they came, and what was found (`record:out/monday`).

`?format=png` keeps every pixel, `?quality=95` is that of JPEG. A part ends at `part=256` MB, and the newest `parts=40` stay. A folder
that holds a recording is refused, unless `old=keep` adds to it or `old=delete` removes it.
"""

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgewright.runtime.errors import SinkError, UsageError
from edgewright.runtime.plugins import check_choice
from edgewright.runtime.recording import FORMAT, MAPS, PICTURES, encoded_map, part_files
from edgewright.runtime.results import Image
from edgewright.runtime.sinks import Output, Sink, SinkContext, make_folder, path_of
from edgewright.runtime.sinks._lines import LineFile
from edgewright.runtime.sinks.jsonl import encoded, record
from edgewright.runtime.uri import number, positive_number, split_options

ONE_SOURCE = True
_OLD = ("refuse", "keep", "delete")
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]
# Colour at every pixel halves the largest error and makes a picture a quarter larger; OpenCV before 4.7 has not that choice.
_FULL_COLOR = (
    [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    if hasattr(cv2, "IMWRITE_JPEG_SAMPLING_FACTOR_444")
    else []
)


def from_uri(text: str, context: SinkContext) -> "RecordSink":
    """A sink that records into a folder, which is made when it is missing."""
    location, options = split_options("sink record", text, ("format", "quality", "part", "parts", "old"))
    chosen, old = options.get("format", "jpg"), options.get("old", "refuse")
    check_choice("option format of sink record", chosen, tuple(PICTURES))
    check_choice("option old of sink record", old, _OLD)
    if chosen == "png" and "quality" in options:
        raise UsageError("sink record: PNG keeps every pixel, quality is for format=jpg; leave one of them out")
    quality = number("quality of sink record", options.get("quality", "95"), at_least=1, at_most=100)
    return RecordSink(
        path_of("sink record", location, context),
        context,
        picture_format=chosen,
        quality=round(quality),
        part_bytes=1e6 * positive_number("part of sink record, in MB,", options.get("part", "256"), at_most=1e5),
        parts=round(number("parts of sink record", options.get("parts", "40"), at_least=2, at_most=1e6)),
        old=old,
    )


class RecordSink(Sink):
    """Parts of about `part_bytes`, of which the newest `parts` stay."""

    def __init__(
        self,
        folder: Path,
        context: SinkContext,
        *,
        picture_format: str = "jpg",
        quality: int = 95,
        part_bytes: float = 256e6,
        parts: int = 40,
        old: str = "refuse",
    ) -> None:
        self._folder = folder
        self._context = context
        self._suffix = f".{picture_format}"
        self._pictures = PICTURES[picture_format]
        self._parameters = [cv2.IMWRITE_JPEG_QUALITY, quality, *_FULL_COLOR] if picture_format == "jpg" else _PNG
        self._part_bytes = part_bytes
        self._parts = parts
        self._run = datetime.now(timezone.utc).isoformat()
        self._files: dict[str, LineFile] = {}
        make_folder(folder)
        _clear(folder, old)

    def write(self, output: Output) -> None:
        picture, class_map = self._encoded(output.frame.image), encoded_map(output.result)
        self._check_place()
        try:
            if sum(file.bytes for file in self._files.values()) >= self._part_bytes:
                self._finish_part()
            if not self._files:
                self._begin_part()
            line = record(output, self._context.labels, masks="rle")
            line["picture"] = self._store(self._pictures, picture)
            if class_map is not None:
                line["map"] = self._store(MAPS, class_map)
            # Last, so that there is no line whose picture is missing.
            self._files[".jsonl"].append(encoded(line))
        except OSError as err:
            raise SinkError(f"recording {self._folder} cannot be written: {err.strerror or err}") from err

    def close(self) -> None:
        self._finish_part()

    def _check_place(self) -> None:
        """A part whose files were removed is given up: the next frame begins another, with a header of its own."""
        missing = [file.path for file in self._files.values() if not file.path.exists()]
        if missing:
            for file in self._files.values():
                file.close()
            self._files = {}
            raise SinkError(f"{missing[0]} was removed while it was recorded; the next frame begins a new part")

    def _encoded(self, image: Image) -> bytes:
        done, data = cv2.imencode(self._suffix, image, self._parameters)
        if not done:
            raise SinkError(f"a picture of {image.shape} cannot be recorded as {self._suffix[1:]}")
        return np.asarray(data).tobytes()

    def _begin_part(self) -> None:
        existing = part_files(self._folder)
        number = int(existing[-1].stem) + 1 if existing else 1
        path = self._folder / f"{number:06d}.jsonl"
        lines = LineFile(path)
        try:
            lines.append(encoded(self._header()))
            self._files = {".jsonl": lines, self._pictures: LineFile(path.with_suffix(self._pictures))}
        except SinkError:
            lines.close(failed=True)
            raise
        for old in [*existing, path][: -self._parts]:
            for file in self._folder.glob(f"{old.stem}.*"):
                file.unlink(missing_ok=True)

    def _finish_part(self) -> None:
        files, self._files = self._files, {}
        for file in files.values():
            # A part is complete on the disk before the next one begins; syncing every frame would cost more than its inference.
            file.close(sync=True)

    def _store(self, suffix: str, data: bytes) -> list[int]:
        if suffix not in self._files:
            self._files[suffix] = LineFile(self._files[".jsonl"].path.with_suffix(suffix))
        start = self._files[suffix].bytes
        self._files[suffix].append(data)
        return [start, len(data)]

    def _header(self) -> dict[str, Any]:
        context = self._context
        return {
            "recording": FORMAT,
            "run": self._run,
            "pictures": self._pictures,
            "source": context.source,
            "fps": context.fps,
            "live": context.live,
            "labels": list(context.labels),
            "about": json.loads(json.dumps(dict(context.about), default=str)),
        }


def _clear(folder: Path, old: str) -> None:
    """Remove the parts of an earlier recording and nothing else; UsageError when nobody said what becomes of them."""
    parts = part_files(folder)
    if not os.access(folder, os.W_OK):
        raise SinkError(f"recording {folder} cannot be written; check its permissions")
    if parts and old == "refuse":
        raise UsageError(
            f"folder {folder} holds a recording ({len(parts)} parts); choose another one, or say record:{folder}?old=delete to "
            "remove it, ?old=keep to add to it"
        )
    if old == "delete":
        for part in parts:
            for file in folder.glob(f"{part.stem}.*"):
                file.unlink(missing_ok=True)
