"""Gives every object the number of its track: `bytetrack`, `sort?lost=2`."""

from collections import OrderedDict
from dataclasses import dataclass, replace

from edgewright.runtime.errors import UsageError
from edgewright.runtime.results import Detections, Frame, Result
from edgewright.runtime.steps import Step, StepContext, film_of
from edgewright.runtime.tracking import Tracker, Tracking, open_tracking

_MOST_FILMS = 64


def from_text(text: str, context: StepContext) -> "Track":
    """The tracker that `text` names, with its options."""
    if not context.has_scored_objects:
        raise UsageError(f"--track follows objects, and a {context.task} network finds none; leave it out")
    tracking = open_tracking(text, sure_score=context.conf_threshold, fps=context.fps)
    return Track(tracking, live=context.live)


@dataclass(eq=False)
class _Film:
    tracker: Tracker
    # Numbers go on above those that were given before the film began anew.
    first_id: int = 1
    last_id: int = 0
    time_s: float = float("-inf")


class Track(Step):
    """A tracker for every film, so that those of several cameras do not mix; a number is given once in a film.

    A film goes by its own time: the position in a file, of a camera the time of capture. Where that goes back, it begins anew.
    """

    stage = "track"

    def __init__(self, tracking: Tracking, *, live: bool) -> None:
        self.least_score = tracking.least_score
        self._tracking = tracking
        self._live = live
        self._films: OrderedDict[str, _Film] = OrderedDict()

    def __call__(self, frame: Frame, result: Result) -> tuple[Frame, Result]:
        if not isinstance(result, Detections):
            raise UsageError("--track follows objects, and there are none in a map of pixels; leave it out")
        time_s = self._time_s(frame)
        film = self._film(film_of(frame), time_s)
        ids = film.tracker.update(result, frame.image, time_s)
        ids[ids >= 0] += film.first_id
        film.last_id = max(film.last_id, int(ids.max(initial=-1)))
        return frame, replace(result, track_ids=ids)

    def _film(self, name: str, time_s: float) -> _Film:
        film = self._films.pop(name, None) or _Film(self._tracking.begin())
        if time_s < film.time_s:
            film = _Film(self._tracking.begin(), film.last_id + 1, film.last_id)
        film.time_s = time_s
        self._films[name] = film
        if len(self._films) > _MOST_FILMS:
            self._films.popitem(last=False)
        return film

    def _time_s(self, frame: Frame) -> float:
        if "pos_msec" in frame.meta:
            return float(frame.meta["pos_msec"]) / 1000
        return frame.time_s if self._live else frame.index / self._tracking.options.fps
