"""One JSON object per frame and line, written at once: `jsonl:run.jsonl`, or `jsonl:-` for standard output.

`jsonl:run.jsonl?masks=rle` adds the masks of instances as run lengths, `?masks=polygon` as polygons.
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, cast, get_args

import numpy as np

from edgewright.runtime.errors import SinkError, UsageError
from edgewright.runtime.masks import outlines, run_counts
from edgewright.runtime.panoptic import segment_extents
from edgewright.runtime.results import BoxMask, Detections, PanopticMap, Result, SemanticMap
from edgewright.runtime.sinks import Output, Sink, SinkContext, make_folder, path_of
from edgewright.runtime.uri import split_options

Masks = Literal["none", "rle", "polygon"]


def from_uri(text: str, context: SinkContext) -> Sink:
    """A sink that writes lines to a file, replacing what it held, or to standard output for '-'."""
    location, options = split_options("sink jsonl", text, ("masks",))
    masks = options.get("masks", "none")
    if masks not in get_args(Masks):
        raise UsageError(f"sink jsonl has no form '{masks}' of masks; it has: {', '.join(get_args(Masks))}")
    form = cast("Masks", masks)
    if location == "-":
        return StdoutSink(context.labels, masks=form)
    return FileSink(path_of("sink jsonl", location, context), context.labels, masks=form)


class FileSink(Sink):
    """Lines in a file. Each is there for readers as soon as it is written, and a line that did not fit is taken back.

    What the file held before is replaced with the first line, or by a run that ends well without one: a run that fails before
    leaves everything as it was.
    """

    def __init__(self, path: Path, labels: Sequence[str], *, masks: Masks = "none") -> None:
        self._path = path
        self._labels = labels
        self._masks = masks
        self._bytes = 0
        self._is_new = not path.exists()
        make_folder(path.parent)
        try:
            self._file: BinaryIO = path.open("ab", buffering=0)
        except OSError as err:
            raise SinkError(f"{path} cannot be written: {err.strerror or err}; check its path and permissions") from err

    def write(self, output: Output) -> None:
        line = encoded(record(output, self._labels, masks=self._masks))
        if self._bytes == 0:
            self._clear()
        written = 0
        try:
            while written < len(line):
                # A write that stops short, as on a full disk, gives its reason when it is tried again.
                written += self._file.write(line[written:])
        except OSError as err:
            # A pipe or device cannot be cut back.
            with suppress(OSError):
                self._file.truncate(self._bytes)
            raise SinkError(
                f"{self._path} cannot be written: {err.strerror or err}, after {self._bytes} bytes"
            ) from err
        self._bytes += len(line)

    def close(self) -> None:
        self._file.close()

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bytes == 0 and err is None:
            self._clear()
        self.close()
        if self._bytes == 0 and err is not None and self._is_new:
            self._path.unlink(missing_ok=True)

    def _clear(self) -> None:
        # A pipe or device holds nothing to cut.
        with suppress(OSError):
            self._file.truncate(0)


class StdoutSink(Sink):
    """Lines on standard output. When its reader goes away, BrokenPipeError says so."""

    def __init__(self, labels: Sequence[str], *, masks: Masks = "none") -> None:
        self._labels = labels
        self._masks = masks

    def write(self, output: Output) -> None:
        sys.stdout.buffer.write(encoded(record(output, self._labels, masks=self._masks)))
        sys.stdout.buffer.flush()


def encoded(line: Mapping[str, Any]) -> bytes:
    """A record as one line of UTF-8."""
    text = json.dumps(line, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # A file name that is no UTF-8 comes as lone surrogates; as `\udcff` they are valid JSON.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def record(output: Output, labels: Sequence[str], *, masks: Masks = "none") -> dict[str, Any]:
    """What a line says of one frame.

    `time_s` is the capture time by the monotonic clock, `media_time_s` the position in a video file, `latency_ms` the
    stages before the sinks. A box is x1 y1 x2 y2 in pixels of the frame. Of a semantic map, a line has the pixels per class;
    of a panoptic map, its segments: `area` in pixels, `box` around them (None for a segment without pixels). A `mask` is COCO's
    run lengths {"size": [h, w], "counts": [...]}, or {"polygons": ...} as `outlines` gives them, in pixels of the frame.
    """
    frame = output.frame
    line: dict[str, Any] = {"frame": frame.index, "source": frame.source, "time_s": round(frame.time_s, 6)}
    if "pos_msec" in frame.meta:
        line["media_time_s"] = round(frame.meta["pos_msec"] / 1000, 6)
    line["age_ms"] = round(output.age_s * 1000, 3)
    line |= _findings(output.result, labels)
    if isinstance(output.result, Detections) and output.result.masks is not None and masks != "none":
        for thing, mask in zip(line["detections"], output.result.masks, strict=True):
            thing["mask"] = _mask(mask, masks, frame.size_hw)
    line["latency_ms"] = {stage: round(seconds * 1000, 3) for stage, seconds in output.latency_s.items()}
    return line


def _findings(result: Result, labels: Sequence[str]) -> dict[str, Any]:
    if isinstance(result, Detections):
        return {"detections": _objects(result, labels)}
    if isinstance(result, SemanticMap):
        return {"detections": [], "semantic": _pixels_per_class(result, labels)}
    return {"detections": [], "panoptic": _segments(result, labels)}


def _objects(found: Detections, labels: Sequence[str]) -> list[dict[str, Any]]:
    boxes = np.round(found.boxes_xyxy.astype(np.float64), 2).tolist()
    scores = np.round(found.scores.astype(np.float64), 4).tolist()
    objects = [
        {
            "box": [_finite(edge) for edge in box],
            "score": _finite(score),
            "class_id": class_id,
            "label": _name(labels, class_id),
        }
        for box, score, class_id in zip(boxes, scores, found.class_ids.tolist(), strict=True)
    ]
    if found.track_ids is not None:
        for thing, track_id in zip(objects, found.track_ids.tolist(), strict=True):
            thing["track_id"] = track_id if track_id >= 0 else None
    return objects


def _mask(mask: BoxMask, form: Masks, size_hw: tuple[int, int]) -> dict[str, Any]:
    if form == "polygon":
        return {"polygons": outlines(mask)}
    return {"size": list(size_hw), "counts": run_counts(mask, size_hw)}


def _pixels_per_class(found: SemanticMap, labels: Sequence[str]) -> list[dict[str, Any]]:
    class_ids, pixels = np.unique(found.class_ids, return_counts=True)
    return [
        {"class_id": class_id, "label": _name(labels, class_id), "pixels": count}
        for class_id, count in zip(class_ids.tolist(), pixels.tolist(), strict=True)
    ]


def _segments(found: PanopticMap, labels: Sequence[str]) -> list[dict[str, Any]]:
    extents = segment_extents(found)
    return [
        {
            "segment_id": segment.segment_id,
            "class_id": segment.class_id,
            "label": _name(labels, segment.class_id),
            "is_thing": segment.is_thing,
            "score": None if segment.score is None else _finite(round(segment.score, 4)),
            "area": extents[segment.segment_id].area if segment.segment_id in extents else 0,
            "box": list(extents[segment.segment_id].box_xyxy) if segment.segment_id in extents else None,
        }
        for segment in found.segments
    ]


def _name(labels: Sequence[str], class_id: int) -> str | None:
    return labels[class_id] if 0 <= class_id < len(labels) else None


def _finite(value: float) -> float | None:
    # JSON has neither NaN nor infinity.
    return value if math.isfinite(value) else None
