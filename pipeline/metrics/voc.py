"""Average precision as PASCAL VOC defines it, precision-recall curves, and the score at which F1 is best."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edgewright.pipeline.metrics.matches import Bools, Floats, Matches, box_overlap


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


def voc_rankings(truth: dict[str, Any], results: Sequence[Any], *, iou_threshold: float = 0.5) -> dict[str, Ranking]:
    """The ranking of every category of COCO ground truth, by the rules of VOC.

    A detection belongs to the object that it overlaps most, and is false when that object is taken already; one that belongs
    to a `difficult` object (else a crowd) does not count. Everingham et al., "The PASCAL VOC Challenge", IJCV 2010, 4.2.2,
    and VOCevaldet.m of the development kit, whose pixel borders are those of boxes x, y, width, height.
    """
    return {
        category["name"]: _ranking(truth, results, category["id"], iou_threshold) for category in truth["categories"]
    }


def coco_ranking(matches: Matches, category: int, *, threshold: int = 0) -> Ranking:
    """The ranking of category number `category` by COCO's rules at IoU threshold number `threshold`: 0 is 0.5, 9 is 0.95."""
    bit = np.uint16(1 << threshold)
    chosen = (matches.category == category) & (matches.ignored[0] & bit == 0)
    objects = np.count_nonzero((matches.object_category == category) & (matches.object_areas & 1 > 0))
    return Ranking(matches.score[chosen], matches.hit[0][chosen] & bit > 0, int(objects))


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


def _ranking(truth: dict[str, Any], results: Sequence[Any], category_id: int, iou_threshold: float) -> Ranking:
    labels = defaultdict(list)
    for annotation in truth["annotations"]:
        if annotation["category_id"] == category_id:
            labels[annotation["image_id"]].append(annotation)
    difficult = {image: np.array([_is_difficult(label) for label in some]) for image, some in labels.items()}
    found = sorted((r for r in results if r["category_id"] == category_id), key=lambda r: -float(r["score"]))
    taken = {image: np.zeros(len(some), bool) for image, some in labels.items()}
    scores, true = [], []
    for result in found:
        image = result["image_id"]
        target = _target(result, labels[image], iou_threshold)
        if target is not None and difficult[image][target]:
            continue
        scores.append(float(result["score"]))
        true.append(target is not None and not taken[image][target])
        if target is not None:
            taken[image][target] = True
    objects = sum(int(np.count_nonzero(~some)) for some in difficult.values())
    return Ranking(np.array(scores, np.float64), np.array(true, bool), objects)


def _target(result: Any, labels: Sequence[Any], iou_threshold: float) -> int | None:
    """The object that a detection overlaps most, None when it does not overlap it enough."""
    if not labels:
        return None
    boxes = np.array([label["bbox"] for label in labels], np.float64)
    overlap = box_overlap(np.array([result["bbox"]], np.float64), boxes, np.zeros(len(boxes), bool))[0]
    best = int(np.argmax(overlap))
    return best if overlap[best] >= iou_threshold else None


def _is_difficult(label: Any) -> bool:
    return bool(label.get("difficult", label.get("iscrowd", 0)))
