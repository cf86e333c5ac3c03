"""Which detections, and which segments, of two runs are the same."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgewright.runtime.results import BoxMask, Detections, PanopticMap
from edgewright.runtime.spec import PostprocessSpec

BOX_TOLERANCE_PX = 0.05
SCORE_TOLERANCE = 1e-3
MASK_IOU = 0.99


@dataclass(frozen=True)
class Matches:
    """How many detections were to be found, which of them were not (`lost`), and which others came up (`extra`)."""

    total: int
    lost: tuple[int, ...]
    extra: tuple[int, ...]

    def describe(self, wanted: Detections, got: Detections, labels: tuple[str, ...]) -> str:
        """The first detection that differs, in words."""
        what, found, index = ("lost", wanted, self.lost[0]) if self.lost else ("added", got, self.extra[0])
        label = labels[int(found.class_ids[index])]
        box = [round(float(value), 2) for value in found.boxes_xyxy[index]]
        return (
            f"{len(self.lost)} of {self.total} detections are lost and {len(self.extra)} added; the first {what} is "
            f"{label} {float(found.scores[index]):.4f} at {box} (same: box within {BOX_TOLERANCE_PX} px, score within "
            f"{SCORE_TOLERANCE}, mask IoU above {MASK_IOU})"
        )


def match_detections(wanted: Detections, got: Detections, settings: PostprocessSpec) -> Matches:
    """One-to-one matches: same class, box within 0.05 px, score within 1e-3, mask IoU above 0.99.

    A detection within 1e-3 of the threshold, or of the last place among `max_detections`, may be there or not.
    """
    free = np.ones(len(got), dtype=bool)
    lost = []
    for index in range(len(wanted)):
        partner = _partner(wanted, index, got, free)
        if partner is None:
            lost.append(index)
        else:
            free[partner] = False
    on_edge = (_on_edge(wanted, settings), _on_edge(got, settings))
    return Matches(
        total=len(wanted),
        lost=tuple(index for index in lost if not on_edge[0][index]),
        extra=tuple(int(index) for index in np.flatnonzero(free & ~on_edge[1])),
    )


def _partner(
    wanted: Detections, index: int, got: Detections, free: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> int | None:
    fits = (
        free
        & (got.class_ids == wanted.class_ids[index])
        & (np.abs(got.scores - wanted.scores[index]) < SCORE_TOLERANCE)
        & (np.abs(got.boxes_xyxy - wanted.boxes_xyxy[index]).max(axis=1, initial=0.0) < BOX_TOLERANCE_PX)
    )
    for other in np.flatnonzero(fits):
        if wanted.masks is None or got.masks is None or mask_iou(wanted.masks[index], got.masks[other]) > MASK_IOU:
            return int(other)
    return None


def mask_iou(a: BoxMask, b: BoxMask) -> float:
    """Intersection over union of two masks of one image; 1 for two empty masks."""
    corner = np.minimum(a.top_left_xy, b.top_left_xy)
    ends = [np.add(mask.top_left_xy, mask.pixels.shape[::-1]) for mask in (a, b)]
    width, height = (int(side) for side in np.maximum(*ends) - corner)
    first, second = (_moved(mask, corner).paste((height, width)) for mask in (a, b))
    union = np.count_nonzero(first | second)
    return 1.0 if union == 0 else np.count_nonzero(first & second) / union


def same_segments(wanted: PanopticMap, got: PanopticMap) -> float:
    """The share of pixels whose segments are the same in both maps: one class, and an IoU above 0.5, which only one can have
    ("Panoptic Segmentation", Kirillov et al. 2019); pixels of no segment agree with each other."""
    first, second = (np.array([0, *(s.segment_id for s in found.segments)]) for found in (wanted, got))
    classes = [np.array([-1, *(s.class_id for s in found.segments)]) for found in (wanted, got)]
    pairs = _places(wanted, first) * len(second) + _places(got, second)
    shared = np.bincount(pairs.ravel(), minlength=len(first) * len(second)).reshape(len(first), len(second))
    union = shared.sum(1)[:, None] + shared.sum(0) - shared
    same = (classes[0][:, None] == classes[1]) & (shared > 0.5 * union)
    same[0, 0] = True
    return float(shared[same].sum() / max(shared.sum(), 1))


def _places(found: PanopticMap, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The index into `ids` of every pixel's segment."""
    order = np.argsort(ids)
    return np.asarray(order[np.searchsorted(ids[order], found.segment_ids)])


def _moved(mask: BoxMask, corner: np.ndarray[tuple[int], np.dtype[np.int64]]) -> BoxMask:
    return BoxMask((mask.top_left_xy[0] - int(corner[0]), mask.top_left_xy[1] - int(corner[1])), mask.pixels)


def _on_edge(found: Detections, settings: PostprocessSpec) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    edge = settings.conf_threshold
    if len(found) >= settings.max_detections:
        edge = max(edge, float(found.scores.min()))
    return np.asarray(found.scores < edge + SCORE_TOLERANCE)
