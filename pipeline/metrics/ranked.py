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
        classes = np.arange(len(ranked.categories))
        # Indices in the machine's own width: numpy would convert any other at every use.
        self._image, hits = ranked.image.astype(np.intp), np.flatnonzero(ranked.true)
        self._hit_image, self._category = self._image[hits], ranked.category[hits].astype(np.intp)
        # Only at hits can F1 and precision be best. Of how many detections and hits they are made, down to where.
        last = hits if ranked.rules == "voc" else _last_of_equals(ranked)[hits]
        self._down_to, self._hits_down_to = last + 1, np.searchsorted(hits, last, side="right")
        self._start, self._hit_start = (np.searchsorted(of, classes) for of in (ranked.category, self._category))
        self._hit_stop = np.searchsorted(self._category, classes, side="right")

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
        ranked, category = self._ranked, self._category
        objects = np.bincount(ranked.object_category, weights[ranked.object_image], len(ranked.categories)).astype(
            np.int64
        )
        hits, every = weights[self._hit_image], _running(weights[self._image])
        found, true = every[self._down_to] - every[self._start][category], _running(hits)
        true = true[self._hits_down_to] - true[self._hit_start][category]
        if ranked.rules == "coco":
            return self._best(true, found, objects), objects
        return self._areas(hits, true, found, objects), objects

    def _best(self, true: Ints, every: Ints, objects: Ints) -> Mapping[str, Floats]:
        """F1 at its best, at the highest score of several, with what belongs to it; zeros where nothing is hit."""
        f1 = 2 * true / np.maximum(every + objects[self._category], 1)
        best = np.zeros(len(objects))
        np.maximum.at(best, self._category, f1)
        # The first of the best: assigned from the last to the first, the first one stays.
        at = np.flatnonzero((f1 == best[self._category]) & (true > 0))[::-1]
        hit, kept = np.zeros(len(objects)), np.zeros(len(objects))
        hit[self._category[at]], kept[self._category[at]] = true[at], every[at]
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
        reached = at < self._hit_stop
        found = np.append(best, 0.0)[np.where(reached, at, len(best))]
        return np.asarray(found.mean(axis=0), np.float64)


def _last_of_equals(ranked: Ranked) -> Ints:
    """For every detection the index of the last one of its score and class: there is no cut between them."""
    new = (np.diff(ranked.score, append=-np.inf) != 0) | (np.diff(ranked.category, append=-1) != 0)
    ends = np.flatnonzero(new)
    last: Ints = ends[np.searchsorted(ends, np.arange(len(ranked.score)))]
    return last


def _running(amounts: Ints) -> Ints:
    """The sums of the first 0, 1, 2, ... amounts."""
    total = np.zeros(len(amounts) + 1, np.int64)
    np.cumsum(amounts, out=total[1:])
    return total


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
