"""Which class a detector takes for which: the confusion matrix of objects, with background."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgewright.pipeline.metrics.image_sums import Floats, ImageSums, Ints, tallied
from edgewright.pipeline.metrics.matches import box_overlap, boxes_of, common_runs, grouped
from edgewright.pipeline.metrics.ranked import Ranked
from edgewright.pipeline.metrics.voc import best_f1

BACKGROUND = "background"
_OVERLAP = 0.5


@dataclass(frozen=True, eq=False)
class ObjectConfusion:
    """Objects and detections of every image: sums (C + 1, C + 1), row the true class, column the found one, last background.

    Detections below the `thresholds` (C,) of their class are left out.
    """

    labels: tuple[str, ...]
    thresholds: Floats
    sums: ImageSums

    @property
    def image_ids(self) -> Ints:
        return self.sums.image_ids

    def of_images(self, images: Ints) -> "ObjectConfusion":
        return replace(self, sums=self.sums.of_images(images))


def best_thresholds(ranked: Ranked) -> Floats:
    """The score (C,) at which F1 of every class is best; infinite for a class without hits."""
    points = (best_f1(ranked.ranking(k)) for k in range(len(ranked.categories)))
    return np.array([np.inf if point is None else point.score for point in points])


def object_confusion(truth: dict[str, Any], results: Sequence[Any], thresholds: Floats) -> ObjectConfusion:
    """The confusion of COCO results of at least `thresholds` (C, by rising category id) with COCO ground truth.

    In an image the pair of boxes that overlaps most is matched first, whatever the classes, down to an overlap of 0.5; what
    stays alone is matched with the background. Crowds do not count, nor does a detection that lies in one for a half.
    """
    groups, images = grouped(truth, results), len(truth["images"])
    classes, scores = len(groups.categories), np.array([result["score"] for result in results], np.float64)
    kept = np.flatnonzero(scores >= thresholds[groups.group // images]) if len(results) else np.zeros(0, np.int64)
    found_class, true_class = groups.group[kept] // images, groups.object_group // images
    found_image, true_image = groups.group[kept] % images, groups.object_group % images
    boxes, true_boxes = boxes_of(results)[kept], boxes_of(truth["annotations"])
    crowd = np.array([annotation["iscrowd"] for annotation in truth["annotations"]], bool)
    column, row = np.full(len(true_boxes), classes), np.full(len(kept), classes)
    counts = ~crowd
    alone = np.ones(len(kept), bool)
    for some, objects in common_runs(found_image, true_image):
        overlap = box_overlap(boxes[some], true_boxes[objects], crowd[objects])
        for i, j in _greedy(np.where(crowd[objects], 0.0, overlap)):
            column[objects[j]], row[some[i]] = found_class[some[i]], true_class[objects[j]]
            alone[some[i]] = False
        excused = (overlap[:, crowd[objects]] >= _OVERLAP).any(axis=1)
        row[some[excused & alone[some]]] = -1
    width = classes + 1
    cells = np.concatenate(
        [true_class[counts] * width + column[counts], classes * width + found_class[alone & (row >= 0)]]
    )
    where = np.concatenate([true_image[counts], found_image[alone & (row >= 0)]])
    return ObjectConfusion(
        (*groups.categories, BACKGROUND), thresholds, tallied(groups.image_ids, where, cells, (width, width))
    )


def _greedy(overlap: Floats) -> Iterator[tuple[int, int]]:
    """Pairs of row and column, the greatest overlap first, every row and column at most once."""
    rows, columns = np.nonzero(overlap >= _OVERLAP)
    order = np.argsort(-overlap[rows, columns], kind="stable")
    used_rows, used_columns = set(), set()
    for i, j in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if i not in used_rows and j not in used_columns:
            used_rows.add(i)
            used_columns.add(j)
            yield i, j
