"""Watches one source: accuracy where there are labels, drift where the bundle knows what is normal."""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from edgewright.pipeline.live.accuracy import Accuracy, Estimate
from edgewright.pipeline.live.alarm import Alarm, Event
from edgewright.pipeline.live.drift import Drift
from edgewright.pipeline.live.watch import ALARMS, Watch
from edgewright.pipeline.report.numbers import shown
from edgewright.runtime.results import Frame, Result

_log = logging.getLogger(__name__)
_MOST_EVENTS = 100
# How often the window is scored at most, and the share of one core that may take.
_EVERY_S, SHARE = 2.0, 0.1
_LOOKS_PER_WINDOW = 4
# Everything since the start is scored more rarely: it changes less, and costs more.
_START_EVERY = 10
# What somebody who stops a run will wait for.
_LAST_WORDS_S = 3.0
_FEWEST_RESAMPLES = 50


class SourceWatch(Watch):
    """Scores and compares every frame that goes through it; intervals are made in a thread of its own, which sleeps most of the
    time. What has happened since the last frame stands in the frame's `meta` under "alarms".

    `notes` say what is not watched, and why. Of several sources, each has a `name`, and a `share` of the time of one core for its
    intervals.
    """

    def __init__(
        self,
        accuracy: Accuracy | None,
        drift: Drift | None,
        *,
        notes: tuple[str, ...] = (),
        name: str = "",
        share: float = SHARE,
    ) -> None:
        self.notes = notes
        self._said_by = f"{name}: " if name else ""
        self.share = share
        self.events: deque[Event] = deque(maxlen=_MOST_EVENTS)
        self.raised = 0
        self._accuracy, self._drift = accuracy, drift
        self._window: Mapping[str, Estimate] = {}
        self._since_start: Mapping[str, Estimate] = {}
        self._alarms: dict[str, Alarm] = {}
        # A frame carries what happened before it; the thread adds to this.
        self._untold: deque[Event] = deque(maxlen=_MOST_EVENTS)
        self._frame, self._start_s = 0, time.monotonic()
        # How many frames there were at the last look: looks at the same frames would be one look.
        self._looked_at = 0
        self._lock, self._over = threading.Lock(), threading.Event()
        self._worker: threading.Thread | None = None

    def __enter__(self) -> "SourceWatch":
        return self

    @property
    def is_active(self) -> bool:
        return self._accuracy is not None or self._drift is not None

    def __call__(self, frame: Frame, result: Result) -> tuple[Frame, Result]:
        self._frame = frame.index
        if self._accuracy is not None:
            with self._lock:
                self._accuracy.add(frame, result)
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="edgewright accuracy", daemon=True)
                self._worker.start()
        if self._drift is not None:
            for event in self._drift.add(frame, result, self._time_s()):
                self._tell(event)
        return self._with_alarms(frame), result

    def close(self) -> None:
        """Let the thread end, and make the final numbers."""
        if self._over.is_set():
            return
        self._over.set()
        if self._worker is not None:
            self._worker.join()
        if self._accuracy is not None:
            self._score(self._accuracy, self._in_time, since_start=True)

    @property
    def regressed(self) -> bool:
        judged = (one.judgement for one in self._since_start.values())
        return self.raised > 0 or any(one is not None and one.outcome == "fail" for one in judged)

    def status(self) -> dict[str, Any]:
        return {
            "live_accuracy": self._accuracy_record(),
            "drift": None if self._drift is None else self._drift.record(),
            "alarms": [*self._raised_now(), *(self._drift.alarms if self._drift is not None else ())],
            "alarm_events": [event.record() for event in tuple(self.events)],
            "not_watched": list(self.notes),
        }

    def brief(self) -> str:
        said = [
            _value(one)
            for name, one in self._window.items()
            if self._accuracy and name in self._accuracy.scorer.compared
        ]
        alarms = [*self._raised_now(), *(self._drift.alarms if self._drift is not None else ())]
        return "  ".join([*said, *([f"ALARM: {', '.join(alarms)}"] if alarms else [])])

    def summary(self) -> str:
        return "\n".join([*self._accuracy_lines(), *self._drift_lines()])

    def _work(self) -> None:
        accuracy, looks = self._accuracy, 0
        while accuracy is not None and not self._over.wait(_EVERY_S):
            if self._is_due(accuracy):
                looks += 1
                self._score(accuracy, self._paced, since_start=looks % _START_EVERY == 0)

    def _is_due(self, accuracy: Accuracy) -> bool:
        """Whether a quarter of a window has gone by since the last look."""
        return accuracy.frames - self._looked_at >= max(1, (accuracy.window.maxlen or 1) // _LOOKS_PER_WINDOW)

    def _score(self, accuracy: Accuracy, track: Any, *, since_start: bool) -> None:
        with self._lock:
            window, kept = list(accuracy.window), accuracy.kept if since_start else []
            frames, due = accuracy.frames, self._is_due(accuracy)
        self._window = accuracy.estimates(window, track=track)
        if since_start:
            whole = len(window) == frames
            self._since_start = self._window if whole else accuracy.estimates(kept, track=track)
        if not due:
            return
        self._looked_at = frames
        for name in accuracy.scorer.compared:
            if name in self._window:
                self._look(accuracy, self._window[name])

    def _look(self, accuracy: Accuracy, estimate: Estimate) -> None:
        alarm, margin = self._alarms.setdefault(estimate.name, Alarm()), accuracy.limits.margin
        back = estimate.change is not None and estimate.change >= -margin
        if accuracy.baseline is None or not alarm.look(beyond=estimate.surely_below(margin), within=back):
            return
        expected = f"{accuracy.baseline.origin} says {shown(estimate.baseline or 0.0, 'fraction')}"
        what = "accuracy regressed" if alarm.on else "accuracy is back"
        text = f"{what}: {_value(estimate)} on the last {estimate.frames} frames, {expected}"
        value, limit = estimate.value or 0.0, (estimate.baseline or 0.0) - margin
        self._tell(Event("accuracy", estimate.name, alarm.on, self._frame, self._time_s(), value, limit, text))

    def _tell(self, event: Event) -> None:
        self.events.append(event)
        self._untold.append(event)
        self.raised += event.raised
        _log.warning("%s%s%s", self._said_by, "" if event.kind == "accuracy" else "drift: ", event.text)

    def _with_alarms(self, frame: Frame) -> Frame:
        if not self._untold:
            return frame
        told = [self._untold.popleft().record() for _ in range(len(self._untold))]
        return replace(frame, meta={**frame.meta, ALARMS: told})

    def _paced(self, numbers: Iterable[int]) -> Iterator[int]:
        """The numbers, with so long a sleep behind the work on each that only a share of one core is taken; none at the end."""
        before = time.perf_counter()
        for number in numbers:
            yield number
            if self._over.wait((time.perf_counter() - before) * (1 / self.share - 1)):
                return
            before = time.perf_counter()

    def _in_time(self, numbers: Iterable[int]) -> Iterator[int]:
        """As many of the numbers as there is time for."""
        end = time.perf_counter() + _LAST_WORDS_S
        for number in numbers:
            if number >= _FEWEST_RESAMPLES and time.perf_counter() > end:
                return
            yield number

    def _time_s(self) -> float:
        return time.monotonic() - self._start_s

    def _raised_now(self) -> list[str]:
        return [name for name, alarm in list(self._alarms.items()) if alarm.on]

    def _accuracy_record(self) -> dict[str, Any] | None:
        accuracy = self._accuracy
        if accuracy is None:
            return None
        baseline = accuracy.baseline
        return {
            "window": {name: one.record() for name, one in self._window.items()},
            "since_start": {name: one.record() for name, one in self._since_start.items()},
            "frames": accuracy.frames,
            "margin": accuracy.limits.margin,
            "baseline": None if baseline is None else {"origin": baseline.origin, "notes": list(baseline.notes)},
        }

    def _accuracy_lines(self) -> Iterator[str]:
        accuracy = self._accuracy
        if accuracy is None or not self._since_start:
            return
        sampled = "" if accuracy.frames == len(accuracy.kept) else f" (an even sample of {len(accuracy.kept)})"
        values = ", ".join(_value(one) for one in self._since_start.values() if one.value is not None)
        yield f"Accuracy on {accuracy.frames} labelled frames{sampled}: {values or 'no object is labelled'}."
        for name in accuracy.scorer.compared:
            if name in self._since_start:
                yield from _compared(self._since_start[name], accuracy)

    def _drift_lines(self) -> Iterator[str]:
        if self._drift is None:
            return
        alarms, frames = self._drift.alarms, len(self._drift.window)
        if not self._drift.readings:
            yield f"Drift: {frames} frames are too few to compare with the reference; watch smaller windows with --watch-window."
        elif alarms:
            yield f"Drift: {', '.join(alarms)} {'is' if len(alarms) == 1 else 'are'} not as in the reference."
        else:
            yield f"Drift: {len(self._drift.readings)} signals are as in the reference."
        if self._drift.not_compared:
            yield f"Drift: {self._drift.not_compared}."


def _value(estimate: Estimate) -> str:
    """ "AP 0.312 (0.284 to 0.341)"."""
    if estimate.value is None:
        return f"{estimate.name} –"
    text = f"{estimate.name} {shown(estimate.value, 'fraction')}"
    if estimate.interval is None:
        return text
    low, high = estimate.interval
    return f"{text} ({shown(low, 'fraction')} to {shown(high, 'fraction')})"


def _compared(estimate: Estimate, accuracy: Accuracy) -> Iterator[str]:
    if estimate.baseline is not None and accuracy.baseline is not None:
        outcome = "too few frames to tell" if estimate.judgement is None else {
            "pass": f"a drop of more than {shown(accuracy.limits.margin, 'fraction')} is excluded",
            "fail": "that is worse",
            "undecided": "whether that is worse is undecided",
        }[estimate.judgement.outcome]  # fmt: skip
        yield f"{estimate.name}: {accuracy.baseline.origin} says {shown(estimate.baseline, 'fraction')}; {outcome}."
    if accuracy.is_short(estimate):
        yield (
            f"{estimate.name}: frames resemble their neighbours over {estimate.block} frames or more, so its interval may be too "
            "narrow; a longer run would tell."
        )
