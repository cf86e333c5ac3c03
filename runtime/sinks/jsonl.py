"""One JSON object per frame and line, written at once: `jsonl:run.jsonl`, or `jsonl:-` for standard output.

`jsonl:run.jsonl?masks=rle` adds the masks of instances as run lengths, `?masks=polygon` as polygons. With
`?size=100&every=24h&keep=10` a file ends at 100 MB or after a day, and ten full ones stay.
"""

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from types import TracebackType
from typing import Any, Literal, cast, get_args

import numpy as np

from edgewright.runtime.errors import UsageError
from edgewright.runtime.masks import outlines, run_counts
from edgewright.runtime.panoptic import segment_extents
from edgewright.runtime.results import BoxMask, Detections, PanopticMap, Result, SemanticMap
from edgewright.runtime.sinks import Output, Sink, SinkContext, path_of
from edgewright.runtime.sinks._lines import LineFile, RotatingLines, Rotation
from edgewright.runtime.uri import duration_s, number, positive_number, split_options

Masks = Literal["none", "rle", "polygon"]
_ROTATION = ("size", "every", "keep")


def from_uri(text: str, context: SinkContext) -> Sink:
    """A sink that writes lines to a file, replacing what it held, or to standard output for '-'; with a limit for the size or age
    of a file, to a series of files."""
    location, options = split_options("sink jsonl", text, ("masks", *_ROTATION))
    masks = masks_form("sink jsonl", options)
    limits = [name for name in _ROTATION if name in options]
    if location == "-":
        if limits:
            raise UsageError(f"standard output does not rotate; leave {', '.join(limits)} out")
        return StdoutSink(context.labels, masks=masks)
    path = path_of("sink jsonl", location, context)
    lines = RotatingLines(path, _rotation(options)) if limits else LineFile(path)
    return FileSink(lines, context.labels, masks=masks)


def masks_form(what: str, options: Mapping[str, str]) -> Masks:
    """How masks of instances are written, as the option `masks` says."""
    masks = options.get("masks", "none")
    if masks not in get_args(Masks):
        raise UsageError(f"{what} has no form '{masks}' of masks; it has: {', '.join(get_args(Masks))}")
    return cast("Masks", masks)


def _rotation(options: Mapping[str, str]) -> Rotation:
    size, every = options.get("size"), options.get("every")
    if size is None and every is None:
        raise UsageError(
            "keep of sink jsonl says how many full files stay; say when one is full: size=100 for 100 MB, every=24h"
        )
    return Rotation(
        most_bytes=math.inf if size is None else 1e6 * positive_number("size of sink jsonl", size, at_most=1e6),
        most_s=math.inf if every is None else duration_s("every of sink jsonl", every),
        keep=round(number("keep of sink jsonl", options.get("keep", "10"), at_least=1, at_most=1e6)),
    )


class FileSink(Sink):
    """Lines in a file, or in a series of files."""

    def __init__(self, lines: LineFile | RotatingLines, labels: Sequence[str], *, masks: Masks = "none") -> None:
        self._lines = lines
        self._labels = labels
        self._masks = masks

    def write(self, output: Output) -> None:
        self._lines.append(encoded(record(output, self._labels, masks=self._masks)))

    def close(self) -> None:
        self._lines.close()

    def __exit__(self, _: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None) -> None:
        self._lines.close(failed=err is not None)


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

    `configs/schemas/jsonl.schema.json` says it for programs. `time_s` is the capture time by the monotonic clock, `utc` the same
    moment by the wall clock, as it stands now; `media_time_s` the position in a video file, `latency_ms` the
    stages before the sinks. A box is x1 y1 x2 y2 in pixels of the frame. Of a semantic map, a line has the pixels per class;
    of a panoptic map, its segments: `area` in pixels, `box` around them (None for a segment without pixels). A `mask` is COCO's
    run lengths {"size": [h, w], "counts": [...]}, or {"polygons": ...} as `outlines` gives them, in pixels of the frame. `alarms`
    are those that were raised or ended since the line before; most lines have none.
    """
    frame = output.frame
    line: dict[str, Any] = {"frame": frame.index, "source": frame.source, "time_s": round(frame.time_s, 6)}
    line["utc"] = _utc(frame.time_s)
    if "pos_msec" in frame.meta:
        line["media_time_s"] = round(frame.meta["pos_msec"] / 1000, 6)
    line["age_ms"] = round(output.age_s * 1000, 3)
    line |= _findings(output.result, labels)
    if isinstance(output.result, Detections) and output.result.masks is not None and masks != "none":
        for thing, mask in zip(line["detections"], output.result.masks, strict=True):
            thing["mask"] = _mask(mask, masks, frame.size_hw)
    if "alarms" in frame.meta:
        line["alarms"] = frame.meta["alarms"]
    line["latency_ms"] = {stage: round(seconds * 1000, 3) for stage, seconds in output.latency_s.items()}
    return line


def _utc(time_s: float) -> str:
    captured = datetime.fromtimestamp(time.time() - (time.monotonic() - time_s), timezone.utc)
    return f"{captured:%Y-%m-%dT%H:%M:%S}.{captured.microsecond // 1000:03d}Z"


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
