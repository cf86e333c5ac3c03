"""COCO's AP and AR from stored matches, for any number of copies of every image."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from edgewright.pipeline.metrics.matches import AREAS, IOU_THRESHOLDS, Bools, Floats, Ints, Matches

# pycocotools, Params.recThrs.
_RECALLS: Floats = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, eq=False)
class _Scores:
    """AP (IoU, class) and recall (limit, IoU, class) in one area; `present` (class,) is where there are objects."""

    precision: Floats
    recall: Floats
    present: Bools


@dataclass(frozen=True)
class _Metric:
    area: int
    value: Callable[[_Scores], float]
    category: int | None = None
    is_recall: bool = False


class MatchedScores:
    """The measurements of `edgewright evaluate` as a function of how often every image occurs.

    Where each occurs once, the numbers are pycocotools'; an image that occurs twice counts as two equal images.
    """

    def __init__(self, matches: Matches, *, names: Collection[str] | None = None, prefix: str = "") -> None:
        """`names` None means all; fewer cost less. `prefix` is put before each name, as in "mask-AP"."""
        every = {f"{prefix}{name}": metric for name, metric in _metrics(matches).items()}
        self._metrics = {name: metric for name, metric in every.items() if names is None or name in names}
        wanted = set(self._metrics.values())
        limits = {
            a: _limits(matches) if any(m.area == a and m.is_recall for m in wanted) else [] for a in range(len(AREAS))
        }
        self._curves = {a: _Curves(matches, a, limits[a]) for a in sorted({metric.area for metric in wanted})}
        self._matches = matches
        self.names = tuple(self._metrics)
        self.images = len(matches.image_ids)

    def values(self, weights: Ints) -> Floats:
        """The value of every name when image i occurs `weights[i]` times; NaN where there is no object."""
        scores = {area: curves.at(weights) for area, curves in self._curves.items()}
        return np.array([metric.value(scores[metric.area]) for metric in self._metrics.values()])

    def support(self) -> Ints:
        """For every name the number of images that hold an object that it is about."""
        return np.array([self._images_with(metric) for metric in self._metrics.values()], np.int64)

    def _images_with(self, metric: _Metric) -> int:
        counts = (self._matches.object_areas >> metric.area & 1).astype(bool)
        if metric.category is not None:
            counts &= self._matches.object_category == metric.category
        return len(np.unique(self._matches.object_image[counts]))


def _metrics(matches: Matches) -> dict[str, _Metric]:
    limits, sizes = _limits(matches), list(enumerate(AREAS))[1:]
    return {
        "AP": _Metric(0, _mean_precision),
        "AP50": _Metric(0, partial(_mean_precision, at=0)),
        "AP75": _Metric(0, partial(_mean_precision, at=5)),
        **{f"AP-{area}": _Metric(a, _mean_precision) for a, area in sizes},
        **{f"AR{limit}": _Metric(0, partial(_mean_recall, m), is_recall=True) for m, limit in enumerate(limits)},
        **{f"AR-{area}": _Metric(a, partial(_mean_recall, -1), is_recall=True) for a, area in sizes},
        **{f"AP/{name}": _Metric(0, partial(_class_ap, k), k) for k, name in enumerate(matches.categories)},
    }


def _limits(matches: Matches) -> list[int]:
    return sorted({limit for limit in (1, 10, matches.max_detections) if limit <= matches.max_detections})


def _mean_precision(scores: _Scores, at: int | slice = slice(None)) -> float:
    return _mean(scores.precision[at][..., scores.present])


def _mean_recall(limit: int, scores: _Scores) -> float:
    return _mean(scores.recall[limit][:, scores.present])


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else np.nan


def _class_ap(category: int, scores: _Scores) -> float:
    return float(scores.precision[:, category].mean()) if scores.present[category] else np.nan


class _Curves:
    """The precision-recall curves in one area, reduced to the places where they can change.

    Precision counts in the steps of a recall only, and recall grows at hits only. So for every threshold the hits are kept,
    and the few detections whose counting there differs from the usual; of all others only how many lie in between matters.
    """

    def __init__(self, matches: Matches, area: int, limits: Sequence[int]) -> None:
        classes, thresholds = len(matches.categories), len(IOU_THRESHOLDS)
        bits = (1 << np.arange(thresholds)).astype(np.uint16)[:, None]
        hit, counted = matches.hit[area] & bits > 0, matches.ignored[area] & bits == 0
        usual = counted[-1]
        threshold, found = np.nonzero(hit | (counted != usual))
        self._hit = hit[threshold, found].astype(np.int64)
        self._excess = counted[threshold, found].astype(np.int64) - usual[found]
        # Indices in the machine's own width: numpy would convert any other at every use.
        self._image, self._category = matches.image[found].astype(np.intp), matches.category[found].astype(np.intp)
        self._curve = threshold * classes + self._category
        self._depth = 2.0 * self._curve
        self._starts = np.searchsorted(self._curve, np.arange(thresholds * classes + 1))
        # How many detections that usually count lie up to each one kept, and before each class.
        before = _running(usual.astype(np.int64))
        self._usual_image = matches.image[usual].astype(np.intp)
        self._up_to = before[found + 1]
        self._class_start = before[np.searchsorted(matches.category, np.arange(classes))]
        counts = (matches.object_areas >> area & 1).astype(bool)
        self._object_image, self._object_category = matches.object_image[counts], matches.object_category[counts]
        self._shape = (thresholds, classes)
        rank = matches.rank[found]
        self._best = [np.flatnonzero(self._hit & (rank < limit)) for limit in limits]

    def at(self, weights: Ints) -> _Scores:
        """The scores when image i occurs `weights[i]` times."""
        curves = self._shape[0] * self._shape[1]
        objects = _sums(self._object_category, weights[self._object_image], self._shape[1])
        weight = weights[self._image]
        hits = weight * self._hit
        true = self._within_curve(hits)
        usual = _running(weights[self._usual_image])
        every = usual[self._up_to] - usual[self._class_start][self._category]
        every += self._within_curve(weight * self._excess)
        reached = _reached(objects)
        last = reached.start[self._category] + true
        steps = reached.total[last] - reached.total[last - hits]
        precision = self._best_from_here_on(true / np.maximum(every, 1))
        ap = np.bincount(self._curve, precision * steps, curves) / len(_RECALLS)
        found = np.array([_sums(self._curve[best], hits[best], curves) for best in self._best]).reshape(
            -1, *self._shape
        )
        return _Scores(ap.reshape(self._shape), found / np.maximum(objects, 1), objects > 0)

    def _within_curve(self, amounts: Ints) -> Ints:
        """Running sums that start anew with every curve."""
        total = _running(amounts)
        within: Ints = total[1:] - total[self._starts][self._curve]
        return within

    def _best_from_here_on(self, precision: Floats) -> Floats:
        """The greatest precision at this or a higher recall of the same curve."""
        # Lowered by 2 for every curve before it, no precision of a later curve comes above one of this.
        lowered = precision - self._depth
        best: Floats = np.maximum.accumulate(lowered[::-1])[::-1] + self._depth
        return best


@dataclass(frozen=True, eq=False)
class _Reached:
    """`total[start[k] + n]` grows from n to m by the number of recalls that n hits of class k do not reach and m do."""

    start: Ints
    total: Ints


def _reached(objects: Ints) -> _Reached:
    some, start = objects[objects > 0, None], np.cumsum(objects + 1) - objects - 1
    hits = np.ceil(_RECALLS * some).astype(np.int64)
    # The recalls are no exact hundredths: whether 7 of 10 reach 0.7 is for the binary fractions to say, as in pycocotools.
    hits -= (hits - 1) / some >= _RECALLS
    hits += hits / some < _RECALLS
    # A recall of 0 is reached with the first hit: the precision before it is 0.
    first = start[objects > 0, None] + np.maximum(hits, 1)
    return _Reached(start, np.cumsum(np.bincount(first.ravel(), minlength=int(objects.sum()) + len(objects))))


def _running(amounts: Ints) -> Ints:
    """The sums of the first 0, 1, 2, ... amounts."""
    total = np.zeros(len(amounts) + 1, np.int64)
    np.cumsum(amounts, out=total[1:])
    return total


def _sums(index: Ints, amounts: Ints, length: int) -> Ints:
    return np.bincount(index, amounts, length).astype(np.int64)
