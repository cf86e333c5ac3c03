"""The detections of all classes by falling score, hit or not, and what follows: F1 at its best, and AP as VOC defines it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.metrics.matches import (
    Bools,
    Floats,
    Ints,
    Matches,
    box_overlap,
    boxes_of,
    common_runs,
    grouped,
)
from edgewright.pipeline.metrics.voc import Ranking

Rules = Literal["coco", "voc"]
_PER_CLASS = ("F1", "precision", "recall", "accuracy")
_VOC = "VOC-AP"
_VOC_ELEVEN = "VOC-AP11"


@dataclass(frozen=True, eq=False)
class Ranked:
    """The detections (D,) that count, by category, then by falling score; `true` where they hit an object. G objects.

    Images and categories are indices.
    """

    image_ids: Ints
    categories: tuple[str, ...]
    category: npt.NDArray[np.int32]
    image: npt.NDArray[np.int32]
    score: Floats
    true: Bools
    object_category: npt.NDArray[np.int32]
    object_image: npt.NDArray[np.int32]
    rules: Rules

    def ranking(self, category: int) -> Ranking:
        """The ranking of one category."""
        chosen = self.category == category
        return Ranking(self.score[chosen], self.true[chosen], int(np.count_nonzero(self.object_category == category)))

    def scores(self, names: Collection[str] | None = None) -> "RankedScores":
        """Those of the names that can be measured, as a function of how often every image occurs."""
        return RankedScores(self, names=names)

    def of_images(self, images: Ints) -> "Ranked":
        """Those of some images only; `images` are indices in rising order, and image i becomes the i-th of them."""
        number = np.full(len(self.image_ids), -1, np.int32)
        number[images] = np.arange(len(images))
        found, objects = number[self.image] >= 0, number[self.object_image] >= 0
        return replace(
            self,
            image_ids=self.image_ids[images],
            category=self.category[found],
            image=number[self.image[found]],
            score=self.score[found],
            true=self.true[found],
            object_category=self.object_category[objects],
            object_image=number[self.object_image[objects]],
        )


def coco_ranked(matches: Matches) -> Ranked:
    """The detections as COCO matches them at an overlap of 0.5, without those that are ignored there."""
    counted, objects = matches.ignored[0] & 1 == 0, matches.object_areas & 1 > 0
    return Ranked(
        image_ids=matches.image_ids,
        categories=matches.categories,
        category=matches.category[counted],
        image=matches.image[counted],
        score=matches.score[counted],
        true=matches.hit[0][counted] & 1 > 0,
        object_category=matches.object_category[objects],
        object_image=matches.object_image[objects],
        rules="coco",
    )


class RankedScores:
    """Measurements of a ranking as a function of how often every image occurs.

    By COCO's rules F1, precision, recall and accuracy (TP / (TP + FP + FN)) of every class at the score where its F1 is best;
    by VOC's the area under the curve, and at eleven recalls. Means are over the classes that have objects.
    """

    def __init__(self, ranked: Ranked, *, names: Collection[str] | None = None) -> None:
        means, of_class = (_PER_CLASS, _PER_CLASS) if ranked.rules == "coco" else ((_VOC, _VOC_ELEVEN), (_VOC,))
        every = [*means, *(f"{metric}/{label}" for metric in of_class for label in ranked.categories)]
        self.names = tuple(name for name in every if names is None or name in names)
        self.images = len(ranked.image_ids)
        self._ranked = ranked
        classes = len(ranked.categories)
        self._category = ranked.category.astype(np.intp)
        self._starts = np.searchsorted(ranked.category, np.arange(classes + 1))
        # Equal scores come together: there is no cut between them.
        new = (np.diff(ranked.score, append=-np.inf) != 0) | (np.diff(ranked.category, append=classes) != 0)
        self._cuts = np.flatnonzero(new)

    def values(self, weights: Ints) -> Floats:
        """The value of every name when image i occurs `weights[i]` times; NaN where there is no object."""
        if not self.names:
            return np.zeros(0)
        by_metric, objects = self._of_classes(weights)
        values = {}
        for metric, of_class in by_metric.items():
            defined = np.where(objects > 0, of_class, np.nan)
            values[metric] = float(of_class[objects > 0].mean()) if objects.any() else np.nan
            values |= {f"{metric}/{label}": v for label, v in zip(self._ranked.categories, defined, strict=True)}
        return np.array([values[name] for name in self.names])

    def support(self) -> Ints:
        """For every name the number of images that hold an object that it is about."""
        return np.array([self._images_with(name) for name in self.names], np.int64)

    def _images_with(self, name: str) -> int:
        images, (_, _, label) = self._ranked.object_image, name.partition("/")
        if label:
            images = images[self._ranked.object_category == self._ranked.categories.index(label)]
        return len(np.unique(images))

    def _of_classes(self, weights: Ints) -> tuple[Mapping[str, Floats], Ints]:
        ranked, classes = self._ranked, len(self._ranked.categories)
        weight = weights[ranked.image]
        objects = np.bincount(ranked.object_category, weights[ranked.object_image], classes).astype(np.int64)
        hits = weight * ranked.true
        true, every = self._within_class(hits), self._within_class(weight)
        if ranked.rules == "coco":
            return self._best(true, every, objects), objects
        return self._areas(hits, true, every, objects), objects

    def _best(self, true: Ints, every: Ints, objects: Ints) -> Mapping[str, Floats]:
        """F1 at its best, at the highest score of several, with what belongs to it; zeros where nothing is hit."""
        true, every, category = true[self._cuts], every[self._cuts], self._category[self._cuts]
        f1 = 2 * true / np.maximum(every + objects[category], 1)
        best = np.zeros(len(objects))
        np.maximum.at(best, category, f1)
        # The first of the best: assigned from the last to the first, the first one stays.
        at = np.flatnonzero((f1 == best[category]) & (true > 0))[::-1]
        hit, kept = np.zeros(len(objects)), np.zeros(len(objects))
        hit[category[at]], kept[category[at]] = true[at], every[at]
        return {
            "F1": 2 * hit / np.maximum(kept + objects, 1),
            "precision": hit / np.maximum(kept, 1),
            "recall": hit / np.maximum(objects, 1),
            "accuracy": hit / np.maximum(kept + objects - hit, 1),
        }

    def _areas(self, hits: Ints, true: Ints, every: Ints, objects: Ints) -> Mapping[str, Floats]:
        precision = true / np.maximum(every, 1)
        # Lowered by 2 for every class before it, no precision of a later class comes above one of this.
        depth = 2.0 * self._category
        best = np.maximum.accumulate((precision - depth)[::-1])[::-1] + depth
        area = np.bincount(self._category, best * hits, len(objects)) / np.maximum(objects, 1)
        return {_VOC: area, _VOC_ELEVEN: self._eleven(true, best, objects)}

    def _eleven(self, true: Ints, best: Floats, objects: Ints) -> Floats:
        """The mean of the best precision at recalls of 0, 0.1, ... 1."""
        step = int(true.max(initial=0)) + 2
        needed = -(-np.arange(11)[:, None] * objects // 10)
        at = np.searchsorted(
            self._category * step + true, np.arange(len(objects)) * step + np.minimum(needed, step - 1)
        )
        reached = at < self._starts[1:]
        found = np.append(best, 0.0)[np.where(reached, at, len(best))]
        return np.asarray(found.mean(axis=0), np.float64)

    def _within_class(self, amounts: Ints) -> Ints:
        """Running sums that start anew with every class."""
        total = np.zeros(len(amounts) + 1, np.int64)
        np.cumsum(amounts, out=total[1:])
        within: Ints = total[1:] - total[self._starts[self._category]]
        return within


def voc_ranked(truth: dict[str, Any], results: Any, *, iou_threshold: float = 0.5) -> Ranked:
    """The detections of COCO results as VOC matches them.

    A detection belongs to the object that it overlaps most, and is false when that object is taken already; one that belongs
    to a `difficult` object (else a crowd) does not count. Everingham et al., "The PASCAL VOC Challenge", IJCV 2010, 4.2.2,
    and VOCevaldet.m of the development kit, whose pixel borders are those of boxes x, y, width, height.
    """
    groups, images = grouped(truth, results), len(truth["images"])
    found_boxes, boxes = boxes_of(results), boxes_of(truth["annotations"])
    difficult = np.array([bool(a.get("difficult", a.get("iscrowd", 0))) for a in truth["annotations"]], bool)
    target = np.full(len(results), -1, np.int64)
    for found, objects in common_runs(groups.group, groups.object_group):
        overlap = box_overlap(found_boxes[found], boxes[objects], np.zeros(len(objects), bool))
        best = overlap.argmax(axis=1)
        enough = overlap[np.arange(len(found)), best] >= iou_threshold
        target[found[enough]] = objects[best[enough]]
    score = np.array([result["score"] for result in results], np.float64)
    order = np.lexsort((-score, groups.group // images))
    order = order[~difficult[target[order]] | (target[order] < 0)] if len(difficult) else order
    true = np.zeros(len(order), bool)
    hits = np.flatnonzero(target[order] >= 0)
    true[hits[np.unique(target[order][hits], return_index=True)[1]]] = True
    return Ranked(
        image_ids=groups.image_ids,
        categories=groups.categories,
        category=(groups.group[order] // images).astype(np.int32),
        image=(groups.group[order] % images).astype(np.int32),
        score=score[order],
        true=true,
        object_category=(groups.object_group[~difficult] // images).astype(np.int32),
        object_image=(groups.object_group[~difficult] % images).astype(np.int32),
        rules="voc",
    )
