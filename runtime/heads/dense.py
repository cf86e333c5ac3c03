"""Boxes and class scores for every anchor or grid cell, before NMS: YOLO, SSD, RetinaNet, FCOS."""

from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.runtime.geometry import Placement
from edgewright.runtime.heads import Outputs, boxes_to_pixels, check_finite
from edgewright.runtime.nms import Suppressed, suppressor
from edgewright.runtime.results import Boxes, Detections
from edgewright.runtime.spec import HeadSpec, ModelSpec, PostprocessSpec

ROLES = ("boxes", "scores")
TASKS = ("detect",)
SUPPRESSES = True


def decode(outputs: Outputs, spec: ModelSpec, placement: Placement, settings: PostprocessSpec) -> Detections:
    """Detections from boxes [1, N, 4] and class probabilities [1, N, C], C = number of labels, best first."""
    found, _ = detect(outputs, spec, placement, settings)
    return found


def detect(
    outputs: Outputs, spec: ModelSpec, placement: Placement, settings: PostprocessSpec
) -> tuple[Detections, npt.NDArray[np.int64]]:
    """What `decode` gives, and the row of boxes [1, N, 4] that each detection came from."""
    scores = outputs["scores"][0]
    check_finite(scores, "scores")
    anchors, class_ids, kept_scores = candidates(scores, spec.head, settings)
    boxes = boxes_to_pixels(outputs["boxes"][0][anchors], spec.head, spec.preprocess.size_hw)
    check_finite(boxes, "boxes")
    kept = without_doubles(boxes, kept_scores, class_ids, settings)
    found = Detections(placement.to_image(kept.boxes_xyxy), kept.scores, class_ids[kept.indices])
    return found, anchors[kept.indices]


def candidates(
    scores: npt.NDArray[Any], head: HeadSpec, settings: PostprocessSpec
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Anchor, class and score of every candidate at or above the threshold; the best ones where there are too many."""
    if settings.multi_label:
        flat = np.flatnonzero(scores >= settings.conf_threshold)
        anchors, class_ids = np.divmod(flat, scores.shape[1])
    else:
        best = scores.argmax(axis=1)
        anchors = np.flatnonzero(scores[np.arange(len(scores)), best] >= settings.conf_threshold)
        class_ids = best[anchors]
    kept = scores[anchors, class_ids].astype(np.float32)
    if settings.max_candidates_per_class is not None:
        strongest = _best_of_each(class_ids, kept, settings.max_candidates_per_class)
        anchors, class_ids, kept = anchors[strongest], class_ids[strongest], kept[strongest]
    if settings.max_candidates_per_level is not None:
        strongest = _best_of_each(_levels(anchors, head), kept, settings.max_candidates_per_level)
        anchors, class_ids, kept = anchors[strongest], class_ids[strongest], kept[strongest]
    if len(kept) > settings.max_candidates:
        strongest = np.sort(np.argpartition(-kept, settings.max_candidates)[: settings.max_candidates])
        anchors, class_ids, kept = anchors[strongest], class_ids[strongest], kept[strongest]
    return anchors, class_ids.astype(np.int64), kept


def without_doubles(
    boxes_xyxy: Boxes, scores: npt.NDArray[np.float32], class_ids: npt.NDArray[np.int64], settings: PostprocessSpec
) -> Suppressed:
    """What suppression leaves of the candidates, without those whose score it lowered below the threshold."""
    kept = suppressor(settings.nms)(
        boxes_xyxy,
        scores,
        class_ids,
        iou_threshold=settings.iou_threshold,
        class_agnostic=settings.class_agnostic,
        max_detections=settings.max_detections,
    )
    stays = (kept.scores >= settings.conf_threshold) | (kept.scores == scores[kept.indices])
    return kept if stays.all() else Suppressed(*(values[stays] for values in kept))


def _levels(anchors: npt.NDArray[np.int64], head: HeadSpec) -> npt.NDArray[np.int64]:
    """The feature level of every anchor; one level where the head does not tell them apart."""
    return np.searchsorted(np.cumsum(head.level_rows or ()), anchors, side="right").astype(np.int64)


def _best_of_each(groups: npt.NDArray[np.int64], scores: npt.NDArray[np.float32], limit: int) -> npt.NDArray[np.int64]:
    """The candidates that are among the `limit` best of their group, in their order."""
    if np.bincount(groups, minlength=1).max() <= limit:
        return np.arange(len(groups))
    order = np.lexsort((-scores, groups))
    ordered = groups[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered, side="left")
    return np.sort(order[rank < limit])
