"""How far what two networks find on one image agrees, without labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.datasets._matching import same_name
from edgewright.runtime.geometry import box_iou
from edgewright.runtime.matching import mask_iou
from edgewright.runtime.results import Detections, PanopticMap, Result, SemanticMap

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# The overlap from which PASCAL VOC, COCO's AP50 and PQ call two regions the same object.
SAME_OBJECT_IOU = 0.5


@dataclass(frozen=True, eq=False)
class Pairing:
    """Objects of A and of B, one to one: `matched` (M, 2) of one class and `flipped` (F, 2) of two, as indices into both;
    `lost` are left over in A, `new` in B.

    Of the matched: `overlap` (M,) is the IoU of the boxes, of a panoptic map that of the segments; `score_change` (M,) is
    B - A, NaN without scores; `mask_overlap` (M,) is the IoU of the masks where both have some.
    """

    matched: Ints
    flipped: Ints
    lost: Ints
    new: Ints
    overlap: Floats
    score_change: Floats
    mask_overlap: Floats | None = None

    @property
    def unmatched(self) -> int:
        """How many objects are not the same in both."""
        return len(self.lost) + len(self.new) + len(self.flipped)


def pair_detections(a: Detections, b: Detections) -> Pairing:
    """Boxes that overlap by half or more, the closest first, those of the same class before others."""
    overlap = box_iou(a.boxes_xyxy, b.boxes_xyxy).astype(np.float64)
    matched, flipped, lost, new = _assign(overlap, a.class_ids, b.class_ids)
    masks = None
    if a.masks is not None and b.masks is not None:
        masks = np.array([mask_iou(a.masks[i], b.masks[j]) for i, j in matched], np.float64)
    change = b.scores[matched[:, 1]].astype(np.float64) - a.scores[matched[:, 0]]
    return Pairing(matched, flipped, lost, new, overlap[matched[:, 0], matched[:, 1]], change, masks)


def pair_segments(a: PanopticMap, b: PanopticMap) -> Pairing:
    """Segments that overlap by more than half: of one map there is then one at most (Kirillov et al., "Panoptic
    Segmentation", arXiv:1801.00868, section 4.1)."""
    overlap = _segment_overlap(a, b)
    classes = [np.array([segment.class_id for segment in side.segments], np.int64) for side in (a, b)]
    matched, flipped, lost, new = _assign(overlap, *classes)
    scores = [np.array([np.nan if s.score is None else s.score for s in side.segments], np.float64) for side in (a, b)]
    change = scores[1][matched[:, 1]] - scores[0][matched[:, 0]]
    return Pairing(matched, flipped, lost, new, overlap[matched[:, 0], matched[:, 1]], change)


def class_table(labels_a: Sequence[str], labels_b: Sequence[str]) -> tuple[tuple[str, ...], Ints]:
    """All class names, those of A first, and the number among them of every class of B.

    Names decide, as they do between labels and data; equal names at the same place go before others.
    """
    names, numbers = list(labels_a), []
    for place, label in enumerate(labels_b):
        here = place < len(labels_a) and same_name(labels_a[place], label)
        found = [place] if here else [n for n, name in enumerate(labels_a) if same_name(name, label)]
        if not found:
            names.append(label)
            found = [len(names) - 1]
        numbers.append(found[0])
    return tuple(names), np.array(numbers, np.int64)


def renumbered(result: Result, numbers: Ints) -> Result:
    """The result with class i called `numbers[i]`; a class id outside stays outside."""
    if isinstance(result, Detections):
        return replace(result, class_ids=numbers[result.class_ids])
    if isinstance(result, SemanticMap):
        outside = int(numbers.max()) + 1
        table = np.append(numbers, outside)
        return SemanticMap(table[np.clip(result.class_ids.astype(np.int64), 0, len(numbers))])
    segments = tuple(replace(segment, class_id=int(numbers[segment.class_id])) for segment in result.segments)
    return replace(result, segments=segments)


def class_pixels(result: SemanticMap | PanopticMap) -> npt.NDArray[np.integer[Any]]:
    """The class of every pixel (H, W); -1 where a panoptic map assigns none."""
    if isinstance(result, SemanticMap):
        return result.class_ids
    ids = [0, *(segment.segment_id for segment in result.segments)]
    classes = np.array([-1, *(segment.class_id for segment in result.segments)], np.int64)
    order = np.argsort(ids, kind="stable")
    place = np.searchsorted(np.array(ids)[order], result.segment_ids).clip(max=len(ids) - 1)
    return np.asarray(classes[order][place])


def _assign(overlap: Floats, classes_a: Ints, classes_b: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Matched, flipped, lost, new: greedily by falling overlap (A, B), pairs of one class first."""
    same = classes_a[:, None] == classes_b[None, :]
    rows, columns = np.nonzero(overlap >= SAME_OBJECT_IOU)
    order = np.lexsort((-overlap[rows, columns], ~same[rows, columns]))
    free_a, free_b = np.ones(len(classes_a), bool), np.ones(len(classes_b), bool)
    pairs: list[tuple[int, int]] = []
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if free_a[row] and free_b[column]:
            free_a[row] = free_b[column] = False
            pairs.append((row, column))
    table = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    alike = same[table[:, 0], table[:, 1]]
    return table[alike], table[~alike], np.flatnonzero(free_a), np.flatnonzero(free_b)


def _segment_overlap(a: PanopticMap, b: PanopticMap) -> Floats:
    """IoU (A, B) of the segments of two maps of one image; pixels without a segment count in the unions."""
    numbers = []
    for side in (a, b):
        ids = np.array([0, *(segment.segment_id for segment in side.segments)], np.int64)
        order = np.argsort(ids, kind="stable")
        place = np.searchsorted(ids[order], side.segment_ids).clip(max=len(ids) - 1)
        numbers.append(np.where(ids[order][place] == side.segment_ids, order[place], 0))
    count_a, count_b = len(a.segments) + 1, len(b.segments) + 1
    both = np.bincount((numbers[0] * count_b + numbers[1]).ravel(), minlength=count_a * count_b)
    shared = both.reshape(count_a, count_b).astype(np.float64)
    union = shared.sum(axis=1)[:, None] + shared.sum(axis=0)[None, :] - shared
    iou = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return np.asarray(iou[1:, 1:])
