"""Watches several sources, each by itself: what each sees and how well would be mixed up in one number."""

from collections.abc import Mapping
from typing import Any

from edgewright.pipeline.live.watch import Watch
from edgewright.runtime.results import Frame, Result


class SeveralWatches(Watch):
    """Gives every frame to the watch of the source that it came from; frames of others pass.

    `watches` are by the names of the sources, `notes` say what is not watched of all of them.
    """

    def __init__(self, watches: Mapping[str, Watch], *, notes: tuple[str, ...] = ()) -> None:
        self._watches = watches
        self._notes = notes

    @property
    def is_active(self) -> bool:
        return any(watch.is_active for watch in self._watches.values())

    def __call__(self, frame: Frame, result: Result) -> tuple[Frame, Result]:
        watch = self._watches.get(frame.origin)
        return (frame, result) if watch is None else watch(frame, result)

    def close(self) -> None:
        for watch in self._watches.values():
            watch.close()

    @property
    def regressed(self) -> bool:
        return any(watch.regressed for watch in self._watches.values())

    def status(self) -> dict[str, Any]:
        """As of one source, with the names of the sources: `by_source` has what is known of each."""
        each = {name: watch.status() for name, watch in self._watches.items()}
        events = [{"source": name, **event} for name, one in each.items() for event in one["alarm_events"]]
        return {
            "live_accuracy": None,
            "drift": None,
            "alarms": [f"{name}: {alarm}" for name, one in each.items() for alarm in one["alarms"]],
            "alarm_events": sorted(events, key=lambda event: event["time_s"]),
            "not_watched": [
                *self._notes,
                *(f"{name}: {note}" for name, one in each.items() for note in one["not_watched"]),
            ],
            "by_source": each,
        }

    def brief(self) -> str:
        said = {name: watch.brief() for name, watch in self._watches.items()}
        return "  ".join(f"{name}: {text}" for name, text in said.items() if text)

    def summary(self) -> str:
        said = [(name, watch.summary()) for name, watch in self._watches.items()]
        return "\n".join(f"{name}: {line}" for name, text in said for line in text.splitlines())
