"""Weighted NMS: the boxes that a winner removes move it, so that what remains jumps less from frame to frame.

Bazarevsky et al., "BlazeFace", arXiv:1907.05047 (blending, their replacement of suppression): the winners are those of hard
suppression; each becomes the mean of the boxes that it removed and its own, weighted by their scores. Its score stays. (Weighted
boxes fusion, arXiv:1910.13302, averages the scores too: it joins the answers of several networks, where agreement counts.)
"""

import numpy as np
import numpy.typing as npt

from edgewright.runtime.nms import FloatArray, IndexArray, Suppressed, checked_candidates
from edgewright.runtime.nms._greedy import Overlaps, columns_of, parts
from edgewright.runtime.nms.hard import keep_indices

_WINNERS_AT_ONCE = 128


def suppress(
    boxes_xyxy: npt.ArrayLike,
    scores: npt.ArrayLike,
    class_ids: npt.ArrayLike,
    *,
    iou_threshold: float,
    class_agnostic: bool = False,
    max_detections: int | None = None,
) -> Suppressed:
    """The candidates that stay under hard suppression, with their mean boxes.

    A winner keeps its box when the mean is no number: all weights are 0, or an edge is infinite. Negative scores weigh 0.
    """
    winners = keep_indices(
        boxes_xyxy,
        scores,
        class_ids,
        iou_threshold=iou_threshold,
        class_agnostic=class_agnostic,
        max_detections=max_detections,
    )
    boxes, confidences, labels = checked_candidates(boxes_xyxy, scores, class_ids)
    groups = np.zeros(len(labels), np.int64) if class_agnostic else labels
    with np.errstate(all="ignore"):
        owners = _owners(boxes, np.asarray(groups), winners, iou_threshold)
    return Suppressed(winners, _means(boxes, confidences, owners, winners), confidences.take(winners))


def _owners(
    boxes: FloatArray, labels: npt.NDArray[np.integer], winners: IndexArray, iou_threshold: float
) -> IndexArray:
    """The position of the winner that removed each candidate, its own for a winner; -1 for a candidate of none of them."""
    columns, overlaps = columns_of(boxes), Overlaps(iou_threshold)
    owners = np.full(len(boxes), -1)
    # The first winner, by falling score, that overlaps a candidate is the one that removed it.
    for first in range(0, len(winners), _WINNERS_AT_ONCE):
        some = winners[first : first + _WINNERS_AT_ONCE]
        free = (owners < 0).nonzero()[0]
        for part in parts(len(free), len(some)):
            chosen = free[part]
            hits = overlaps(columns[:, some, None], columns[:, None, chosen]) & (labels[some, None] == labels[chosen])
            owners[chosen] = np.where(hits.any(axis=0), first + hits.argmax(axis=0), -1)
    owners[winners] = np.arange(len(winners))
    return owners


def _means(boxes: FloatArray, scores: FloatArray, owners: IndexArray, winners: IndexArray) -> FloatArray:
    """The mean box (K, 4) of every winner, weighted by the scores."""
    members = owners >= 0
    owners, count = owners[members], len(winners)
    weights = np.maximum(scores[members], 0).astype(np.float64)
    with np.errstate(all="ignore"):
        total = np.bincount(owners, weights, count)
        sums = [np.bincount(owners, weights * edge, count) for edge in boxes[members].T.astype(np.float64)]
        means = np.stack(sums, axis=1) / total[:, None]
    usable = np.isfinite(means).all(axis=1, keepdims=True)
    return np.where(usable, means, boxes[winners]).astype(np.float32)
