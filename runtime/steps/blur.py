"""Makes objects of chosen classes unrecognizable before anybody sees the frame: `person,face`, `all?method=solid`."""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgewright.runtime.covering import METHODS, Area, areas_of, cover
from edgewright.runtime.errors import UsageError
from edgewright.runtime.plugins import check_choice, suggestion
from edgewright.runtime.results import Frame, Result
from edgewright.runtime.steps import Step, StepContext, film_of
from edgewright.runtime.uri import number, split_options

_SHAPES = ("box", "mask")
_OPTIONS = ("method", "shape", "cells", "pad", "conf", "hold")
_MOST_FILMS = 64


@dataclass(frozen=True)
class BlurOptions:
    """How objects are covered: see `covering.cover` for `method` and `cells`, `covering.areas_of` for the others.

    An object counts from the score `conf` on, and its place stays covered for `hold` frames after it was found there.
    """

    method: str = "pixelate"
    shape: str = "box"
    cells: int = 6
    pad: float = 0.1
    conf: float = 0.0
    hold: int = 0


def from_text(text: str, context: StepContext) -> "Blur":
    """Class names with commas between them, or `all`, and options behind a '?'."""
    names, given = split_options("--blur", text, _OPTIONS)
    if "conf" in given and not context.has_scored_objects:
        raise UsageError(f"option conf of --blur is for detectors; a {context.task} network has no objects below it")
    conf = number("option conf of --blur", given.get("conf", "0"), at_least=0, at_most=1)
    options = BlurOptions(
        method=given.get("method", "pixelate"),
        shape=given.get("shape", "box"),
        cells=round(number("option cells of --blur", given.get("cells", "6"), at_least=1, at_most=64)),
        pad=number("option pad of --blur", given.get("pad", "0.1"), at_least=0, at_most=2),
        conf=conf if "conf" in given else context.conf_threshold,
        hold=round(number("option hold of --blur, in frames,", given.get("hold", "0"), at_least=0, at_most=1000)),
    )
    check_choice("option method of --blur", options.method, METHODS)
    check_choice("option shape of --blur", options.shape, _SHAPES)
    return Blur(_chosen(names, context.labels), options)


class Blur(Step):
    """Covers the objects of `class_ids` in a copy of the picture; a frame without any is given on as it is.

    What the network does not find is not covered.
    """

    stage = "blur"

    def __init__(self, class_ids: frozenset[int], options: BlurOptions = BlurOptions()) -> None:
        self.least_score = options.conf
        self._class_ids = np.array(sorted(class_ids), np.int64)
        self._options = options
        # Of several cameras whose frames come in turn, each has a past of its own.
        self._past: OrderedDict[str, deque[list[Area]]] = OrderedDict()

    def __call__(self, frame: Frame, result: Result) -> tuple[Frame, Result]:
        options = self._options
        found = areas_of(
            result, self._class_ids, least_score=options.conf, pad=options.pad, masks=options.shape == "mask"
        )
        areas = self._with_held(film_of(frame), list(found))
        if not areas:
            return frame, result
        image = frame.image.copy()
        for area in areas:
            cover(image, area, method=options.method, cells=options.cells)
        return replace(frame, image=image), result

    def _with_held(self, film: str, areas: list[Area]) -> list[Area]:
        if not self._options.hold:
            return areas
        past = self._past.pop(film, None) or deque(maxlen=self._options.hold + 1)
        past.append(areas)
        self._past[film] = past
        if len(self._past) > _MOST_FILMS:
            self._past.popitem(last=False)
        return [area for earlier in past for area in earlier]


def _chosen(names: str, labels: Sequence[str]) -> frozenset[int]:
    keys = [_key(label) for label in labels]
    if _key(names) == "all" and "all" not in keys:
        return frozenset(range(len(labels)))
    for name in names.split(","):
        if _key(name) not in keys:
            raise UsageError(
                f"--blur: the network has no class '{name.strip()}'{suggestion(_key(name), keys)}; "
                "`edgewright inspect BUNDLE` lists its classes, and 'all' means each of them"
            )
    wanted = {_key(name) for name in names.split(",")}
    return frozenset(number for number, key in enumerate(keys) if key in wanted)


def _key(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())
