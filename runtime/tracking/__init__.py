"""Which object of a frame is which of the frame before: one file per tracker, found by its name (`bytetrack`)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgewright.runtime import plugins
from edgewright.runtime.results import Detections, Image
from edgewright.runtime.uri import number, split_options

TrackIds = npt.NDArray[np.int64]
_OPTIONS = ("lost", "iou", "frames", "low", "classes")


@dataclass(frozen=True)
class TrackOptions:
    """How objects are followed.

    `sure_score` is where a track may begin, `low_score` the least that may go on with one. A track ends when nothing was found of
    it for `lost_s`; an object has a number from its `frames`-th frame on. `iou` is the least overlap from one frame to the next.
    The last two are the tracker's own where they are None. `fps` is what the source says, a usual camera's else.
    """

    sure_score: float
    low_score: float = 0.1
    lost_s: float = 1.0
    iou: float | None = None
    frames: int | None = None
    classes_apart: bool = False
    fps: float = 30.0


class Tracker(Protocol):
    """Follows the objects of one film. It takes frames in order, `time_s` growing, and gives a number (N,) for each object
    found, -1 for those that are no track; numbers begin at 0 and none is given twice."""

    def update(self, found: Detections, image: Image, time_s: float) -> TrackIds: ...


@dataclass(frozen=True)
class Tracking:
    """How to begin with a film; `least_score` is what the tracker wants to see of unsure objects."""

    begin: Callable[[], Tracker]
    options: TrackOptions
    least_score: float | None


def open_tracking(text: str, *, sure_score: float, fps: float | None) -> Tracking:
    """The tracker that `text` names, `bytetrack?lost=2`: a module of this package offers `begin(options) -> Tracker`, and
    `wants_unsure`, whether it makes use of objects below `sure_score`."""
    name, given = split_options("--track", text, _OPTIONS)
    module = plugins.load(__name__, name)
    options = _options(given, sure_score, fps)
    # Whether its package is there is to be known before the first frame.
    module.begin(options)
    least = min(options.low_score, sure_score) if module.wants_unsure else None
    return Tracking(lambda: module.begin(options), options, least)


def _options(given: dict[str, str], sure_score: float, fps: float | None) -> TrackOptions:
    classes = given.get("classes", "together")
    plugins.check_choice("option classes of --track", classes, ("together", "apart"))
    return TrackOptions(
        sure_score,
        lost_s=number("option lost of --track, in seconds,", given.get("lost", "1"), at_least=0, at_most=3600),
        low_score=number("option low of --track", given.get("low", "0.1"), at_least=0, at_most=1),
        iou=number("option iou of --track", given["iou"], at_least=0, at_most=1) if "iou" in given else None,
        frames=round(number("option frames of --track", given["frames"], at_least=1, at_most=1000))
        if "frames" in given
        else None,
        classes_apart=classes == "apart",
        fps=fps or TrackOptions.fps,
    )
