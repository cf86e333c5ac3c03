"""Soft-NMS: a better box that overlaps lowers a score instead of removing the box.

Bodla et al., "Soft-NMS", arXiv:1704.04503: the best candidate is taken; the scores of the others of its class are multiplied by
exp(-IoU² / sigma) (method `gaussian`), or by 1 - IoU where IoU is above the threshold (`linear`); repeat. The Gaussian method
has no use for the IoU threshold. All classes take their step at once, on tables with a row for each.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgewright.runtime.errors import UsageError
from edgewright.runtime.nms import (
    FloatArray,
    IndexArray,
    Suppressed,
    check_limits,
    check_option,
    check_probabilities,
    checked_candidates,
)
from edgewright.runtime.nms._by_class import best_of, overlaps_of, row_columns, rows_of_classes
from edgewright.runtime.nms._greedy import float32_at_most

OPTIONS: dict[str, Callable[[str], Any]] = {"method": str, "sigma": float, "least": float}


def suppress(
    boxes_xyxy: npt.ArrayLike,
    scores: npt.ArrayLike,
    class_ids: npt.ArrayLike,
    *,
    iou_threshold: float,
    class_agnostic: bool = False,
    max_detections: int | None = None,
    method: Literal["gaussian", "linear"] = "gaussian",
    sigma: float = 0.5,  # the authors' values, as is `least`
    least: float = 0.001,
) -> Suppressed:
    """The candidates whose lowered score is at least `least`, at most `max_detections`, best first.

    UsageError for scores outside 0..1.
    """
    boxes, confidences, labels = checked_candidates(boxes_xyxy, scores, class_ids)
    check_limits(iou_threshold, max_detections)
    check_probabilities(confidences)
    check_option("sigma", sigma, above=0.0, up_to=1e6)
    check_option("least", least, above=0.0, up_to=1.0)
    decay = _decay(method, iou_threshold, sigma)
    with np.errstate(all="ignore"):
        taken = [
            _take(rows, boxes, confidences, decay, np.float32(least), max_detections)
            for rows in rows_of_classes(confidences, None if class_agnostic else labels)
        ]
    indices, lowered = (np.concatenate(values) for values in zip(*taken, strict=True))
    return best_of(boxes, indices, lowered, confidences, max_detections)


def _decay(method: str, iou_threshold: float, sigma: float) -> Callable[[FloatArray], FloatArray]:
    """What scores are multiplied by, for overlaps."""
    if method == "gaussian":
        rate = np.float32(-1 / sigma)
        return lambda iou: np.exp(iou * iou * rate)
    if method == "linear":
        threshold = float32_at_most(iou_threshold)
        return lambda iou: np.where(iou > threshold, np.float32(1) - iou, np.float32(1))
    raise UsageError(f"soft suppression has no method '{method}'; it has: gaussian, linear")


def _take(
    rows: IndexArray,
    boxes: FloatArray,
    scores: FloatArray,
    decay: Callable[[FloatArray], FloatArray],
    least: np.float32,
    limit: int | None,
) -> tuple[IndexArray, FloatArray]:
    """What each row gives, at most `limit`, with the scores at which it was taken; one step takes one of every row."""
    columns, every = row_columns(boxes, rows), np.arange(len(rows))
    # What was taken, and fillers, have -1: no factor lifts it above `least`.
    left = np.where(rows < 0, np.float32(-1), scores[rows]) if len(scores) else np.zeros(rows.shape, np.float32)
    indices, lowered = [], []
    for _ in range(rows.shape[1] if limit is None else min(limit, rows.shape[1])):
        best = left.argmax(axis=1)
        top = left[every, best]
        live = top >= least
        if not live.any():
            break
        indices.append(rows[every, best][live])
        lowered.append(top[live])
        left[every, best] = -1
        left *= decay(overlaps_of(columns[:, every, best][:, :, None], columns))
    if not indices:
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    return np.concatenate(indices), np.concatenate(lowered)
