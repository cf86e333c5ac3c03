"""Average precision as PASCAL VOC defines it, precision-recall curves, and the score at which F1 is best."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgewright.pipeline.metrics.matches import Bools, Floats


@dataclass(frozen=True, eq=False)
class Ranking:
    """The detections of a class by falling score: scores and which are true (n,), and how many objects there are."""

    scores: Floats
    true: Bools
    objects: int


@dataclass(frozen=True, eq=False)
class Curve:
    """Precision and recall (m,) of all detections with at least `scores` (m,), which fall; equal scores come together."""

    scores: Floats
    precision: Floats
    recall: Floats


@dataclass(frozen=True)
class Operating:
    """A score to cut at, and what remains: detections that score at least so much."""

    score: float
    f1: float
    precision: float
    recall: float


def average_precision(ranking: Ranking, *, points: Literal["all", "eleven"] = "all") -> float:
    """The area under the curve (VOC from 2010 on), or the mean at eleven recalls (VOC 2007); NaN without objects.

    Precision is the best at that recall or a higher one.
    """
    if not ranking.objects:
        return float("nan")
    precision, recall = _counted(ranking)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    if points == "eleven":
        # Tenths as quotients: 7 of 10 objects reach a recall of 0.7, which they miss by rounding as 7 * 0.1.
        return float(best[np.searchsorted(recall, np.arange(11) / 10)].mean())
    return float(np.sum(np.diff(recall, prepend=0.0) * best[:-1]))


def mean_average_precision(rankings: dict[str, Ranking], *, points: Literal["all", "eleven"] = "all") -> float:
    """The mean over the classes that have objects; NaN when none has."""
    values = [average_precision(ranking, points=points) for ranking in rankings.values() if ranking.objects]
    return float(np.mean(values)) if values else float("nan")


def curve(ranking: Ranking) -> Curve:
    """Precision and recall at every score that occurs; recall is 0 throughout where there are no objects."""
    precision, recall = _counted(ranking)
    last = np.flatnonzero(np.diff(ranking.scores, append=-np.inf))
    return Curve(ranking.scores[last], precision[last], recall[last])


def best_f1(ranking: Ranking) -> Operating | None:
    """Where F1, the harmonic mean of precision and recall, is best, at the highest score of several; None without a hit."""
    if not ranking.true.any() or not ranking.objects:
        return None
    found = curve(ranking)
    total = found.precision + found.recall
    f1 = np.divide(2 * found.precision * found.recall, total, out=np.zeros_like(total), where=total > 0)
    k = int(np.argmax(f1))
    return Operating(float(found.scores[k]), float(f1[k]), float(found.precision[k]), float(found.recall[k]))


def _counted(ranking: Ranking) -> tuple[Floats, Floats]:
    """Precision and recall after each detection."""
    true = np.cumsum(ranking.true)
    return true / np.arange(1, len(true) + 1), true / max(ranking.objects, 1)
