"""What the run did lately, as the loop tells it and as the web view shows it."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgewright.runtime.draw import class_color
from edgewright.runtime.results import Detections
from edgewright.runtime.sinks import Output
from edgewright.runtime.sinks.jsonl import record
from edgewright.runtime.status import RunStatus, SourceStatus
from edgewright.runtime.timing import STAGES

# Rates and latencies are those of the last seconds.
WINDOW_S = 5.0
_WINDOW_FRAMES = 600
# More rows of a table nobody reads.
_MOST_OBJECTS = 50


@dataclass(eq=False)
class Stream:
    """The frames of one source so far."""

    frames: int = 0
    objects: int = 0
    last: Output | None = None
    last_s: float = 0.0
    passed: deque[tuple[float, float, Mapping[str, float]]] = field(
        default_factory=lambda: deque(maxlen=_WINDOW_FRAMES)
    )


class RunView:
    """Collects outputs in the loop's thread, and says in another what there is to show.

    Frames belong to the source of the run whose name they carry, or to its only one: a picture of a folder carries its own.
    """

    def __init__(self, labels: Sequence[str], source: str, status: Callable[[], RunStatus] | None) -> None:
        self.labels = labels
        self.start_s = time.monotonic()
        self._status = status or (lambda: RunStatus("", {}, (SourceStatus(source, "running"),), {}))
        self._lock = threading.Lock()
        self._streams: dict[str, Stream] = {}
        self._names: tuple[str, ...] = ()
        self.status()

    def status(self) -> RunStatus:
        """What the run says of itself now."""
        status = self._status()
        self._names = tuple(source.name for source in status.sources)
        return status

    def note(self, output: Output) -> str:
        """Count an output; returns the name of its source."""
        name = output.frame.source
        if name not in self._names and self._names:
            name = self._names[0]
        now = time.monotonic()
        with self._lock:
            stream = self._streams.setdefault(name, Stream())
            stream.frames += 1
            stream.objects += len(output.result) if isinstance(output.result, Detections) else 0
            stream.last, stream.last_s = output, now
            stream.passed.append((now, output.age_s, output.latency_s))
        return name

    def silent_s(self, name: str) -> float | None:
        """For how long nothing came out of this source; None when nothing ever did."""
        with self._lock:
            stream = self._streams.get(name)
            return None if stream is None else time.monotonic() - stream.last_s

    def counted(self) -> dict[str, tuple[int, int]]:
        """Frames and objects by source."""
        with self._lock:
            return {name: (stream.frames, stream.objects) for name, stream in self._streams.items()}

    def snapshot(self, status: RunStatus, *, results: bool) -> dict[str, Any]:
        """Everything that is shown, for JSON; with the objects of the last frame of each source when `results`."""
        return {
            "network": status.network,
            "settings": dict(status.settings),
            "uptime_s": round(time.monotonic() - self.start_s, 1),
            "events": dict(status.events),
            "watched": dict(status.watched),
            "sources": [self._source(source, results=results) for source in status.sources],
        }

    def _source(self, source: SourceStatus, *, results: bool) -> dict[str, Any]:
        with self._lock:
            stream = self._streams.get(source.name, Stream())
            passed, last, last_s = list(stream.passed), stream.last, stream.last_s
            frames, objects = stream.frames, stream.objects
        now = time.monotonic()
        recent = [entry for entry in passed if now - entry[0] <= WINDOW_S]
        shown: dict[str, Any] = {
            "name": source.name,
            "state": source.state,
            "frames": frames,
            "objects": objects,
            "dropped": source.dropped,
            "skipped": source.skipped,
            "frames_per_s": _rate(recent, now),
            "silent_s": None if last is None else round(now - last_s, 1),
            "age_ms": _milliseconds([age for _, age, _ in recent]),
            "stages": {name: _milliseconds(values) for name, values in _by_stage(recent).items()},
        }
        if results and last is not None:
            shown["size_hw"] = list(last.frame.size_hw)
            shown["result"] = _shown_result(last, self.labels)
        return shown


def _rate(recent: Sequence[tuple[float, float, Mapping[str, float]]], now: float) -> float:
    """Frames a second, also of a run that is younger than the window."""
    if len(recent) < 2:
        return 0.0
    return round((len(recent) - 1) / max(now - recent[0][0], 1e-9), 2)


def _by_stage(recent: Sequence[tuple[float, float, Mapping[str, float]]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for _, _, latency_s in recent:
        for stage, seconds in latency_s.items():
            found.setdefault(stage, []).append(seconds)
    return {stage: found[stage] for stage in sorted(found, key=_place)}


def _place(stage: str) -> int:
    return STAGES.index(stage) if stage in STAGES else len(STAGES)


def _milliseconds(seconds: Sequence[float]) -> dict[str, float] | None:
    """The median and the 95th percentile."""
    if not seconds:
        return None
    middle, high = np.percentile(np.asarray(seconds), (50, 95)) * 1000
    return {"p50": round(float(middle), 2), "p95": round(float(high), 2)}


def _shown_result(output: Output, labels: Sequence[str]) -> dict[str, Any]:
    """As a line of the sink jsonl, the surest objects first, with the colours that they are drawn in."""
    line = record(output, labels)
    line["detections"] = sorted(line["detections"], key=lambda thing: -(thing["score"] or 0))
    line["left_out"] = max(0, len(line["detections"]) - _MOST_OBJECTS)
    line["detections"] = line["detections"][:_MOST_OBJECTS]
    for thing in (*line["detections"], *line.get("semantic", ()), *line.get("panoptic", ())):
        blue, green, red = class_color(thing["class_id"])
        thing["color"] = f"#{red:02x}{green:02x}{blue:02x}"
    return {
        key: line[key] for key in ("frame", "age_ms", "detections", "semantic", "panoptic", "left_out") if key in line
    }
