"""The last frames of a run against the bundle's reference: which signals have moved further than they wander by themselves."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgewright.pipeline.live.alarm import Alarm, Event
from edgewright.pipeline.live.reference import (
    Reference,
    class_count,
    class_distance,
    distance,
    least_change,
)
from edgewright.pipeline.live.signals import (
    CLASSES,
    OBJECTS,
    PICTURE,
    FrameSignals,
    class_shares,
    signals_of,
    values_of,
)
from edgewright.runtime.results import Frame, Result
from edgewright.runtime.spec import PostprocessSpec

# How much further than the most that was seen in the reference counts: docs/live.md shows what that means for false alarms.
FACTOR = 1.5
# An alarm ends when the signal is back within this share of its limit.
_BACK = 0.75
# Fewer objects say nothing about where and how large objects are.
_LEAST_VALUES = 30
_LOOKS_PER_WINDOW = 4


@dataclass(frozen=True)
class Reading:
    """How far a signal is from the reference, in its unit, and how far is too far. `now` and `then` are medians."""

    distance: float
    limit: float
    now: float | None = None
    then: float | None = None


class Drift:
    """Looks at the last `window` frames four times a window; `readings` are those of the last look, `alarms` by signal."""

    def __init__(
        self, reference: Reference, labels: Sequence[str], *, settings: Mapping[str, Any], window: int = 500
    ) -> None:
        self.reference = reference
        self.window: deque[FrameSignals] = deque(maxlen=window)
        self.readings: dict[str, Reading] = {}
        self.not_compared = _differing(reference.settings, settings)
        self._labels = labels
        self._alarms: dict[str, Alarm] = {}
        self._every = max(1, window // _LOOKS_PER_WINDOW)
        self._since_look = 0

    @property
    def alarms(self) -> tuple[str, ...]:
        """The signals that are too far off now."""
        return tuple(name for name, alarm in self._alarms.items() if alarm.on)

    def add(self, frame: Frame, result: Result, time_s: float) -> tuple[Event, ...]:
        """Take a frame `time_s` seconds into the run; what it changes."""
        return self.take(signals_of(frame, result, len(self._labels)), frame.index, time_s)

    def take(self, signals: FrameSignals, frame: int, time_s: float) -> tuple[Event, ...]:
        """As `add`, with the signals of frame number `frame` of the run."""
        self.window.append(signals)
        self._since_look += 1
        # Half a window says enough to begin with: the limits are wider for fewer frames.
        if self._since_look < self._every or len(self.window) < (self.window.maxlen or 0) / 2:
            return ()
        self._since_look = 0
        return self.look(frame, time_s)

    def look(self, frame: int, time_s: float) -> tuple[Event, ...]:
        """Compare the window with the reference, at frame number `frame` of the run."""
        self.readings = self._read()
        events = []
        for name, reading in self.readings.items():
            alarm = self._alarms.setdefault(name, Alarm())
            beyond = reading.distance > reading.limit
            if alarm.look(beyond=beyond, within=reading.distance <= _BACK * reading.limit):
                text = self._sentence(name, reading, alarm.on)
                events.append(Event("drift", name, alarm.on, frame, time_s, reading.distance, reading.limit, text))
        return tuple(events)

    def _read(self) -> dict[str, Reading]:
        frames = list(self.window)
        found = {}
        for name, values in values_of(frames, self.reference.mean_picture).items():
            known = self.reference.signals.get(name)
            if known is None or (self.not_compared and name in _OF_RESULTS) or len(values) < _least(name):
                continue
            then = np.array(known.quantiles)
            limit = _limit(name, known.usual, known.usual_count, len(values))
            found[name] = Reading(distance(values, then), limit, float(np.median(values)), float(then[50]))
        classes, count = self.reference.classes, class_count(frames)
        if classes is not None and not self.not_compared and count >= _least(CLASSES.name):
            far = class_distance(class_shares(frames), np.array(classes.shares))
            found[CLASSES.name] = Reading(far, _limit(CLASSES.name, classes.usual, classes.usual_count, count))
        return found

    def _sentence(self, name: str, reading: Reading, raised: bool) -> str:
        if not raised:
            return f"{name} is as in the reference again"
        signal = next(signal for signal in (*PICTURE, *OBJECTS, CLASSES) if signal.name == name)
        if reading.now is None or reading.then is None:
            return (
                f"classes: {reading.distance:.0%} of what is found is of other classes than in the reference, up to "
                f"{reading.limit:.0%} is usual{self._most_changed()}"
            )
        return (
            f"{name}: median {reading.now:.3g} {signal.unit} over the last {len(self.window)} frames, {reading.then:.3g} in the "
            f"reference; {reading.distance:.2g} away, up to {reading.limit:.2g} is usual"
        )

    def _most_changed(self) -> str:
        if self.reference.classes is None:
            return ""
        change = class_shares(list(self.window)) - np.array(self.reference.classes.shares)
        most = int(np.argmax(np.abs(change)))
        return f" (most of all {self._labels[most]}: {change[most]:+.0%})"

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "reference": {"source": self.reference.source, "frames": self.reference.frames},
            "frames": len(self.window),
            "signals": {
                name: {"distance": one.distance, "limit": one.limit, "now": one.now, "reference": one.then, "alarm": name in self.alarms}
                for name, one in self.readings.items()
            },
            "not_compared": self.not_compared,
        }  # fmt: skip


_OF_RESULTS = {signal.name for signal in OBJECTS}
# What decides how much is found; the engine and its precision are not meant to.
_SETTINGS = (*PostprocessSpec.model_fields, "tiles", "proposals", "proposals.count")


def _limit(name: str, usual: float, usual_count: float, count: float) -> float:
    """Of fewer values than the parts of the reference had, chance moves the distribution further: with 1 / √n."""
    return max(least_change(name), FACTOR * usual * max(1.0, math.sqrt(usual_count / count)))


def _least(name: str) -> int:
    frames = {signal.name for signal in PICTURE} | {"detections"}
    return 1 if name in frames else _LEAST_VALUES


def _differing(reference: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    """Why results are not compared, empty when they are."""
    differing = [key for key in _SETTINGS if reference.get(key) != run.get(key)]
    if not differing:
        return ""
    key = differing[0]
    return f"{key} was {reference.get(key)} for the reference and is {run.get(key)} in this run, so only the pictures are compared"
