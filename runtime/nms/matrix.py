"""Matrix NMS: every score is lowered at once, by the best reason for it that is not itself doubtful.

Wang et al., "SOLOv2", arXiv:2003.10152, section 3.3: score_j is multiplied by the least f(IoU_ij) / f(most_i) over the better
boxes i of its class, where most_i is the largest overlap of i with a box better than i. f(x) is exp(-x² / sigma) (method
`gaussian`) or 1 - x (`linear`). There are no rounds, and the IoU threshold has no say.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgewright.runtime.errors import UsageError
from edgewright.runtime.nms import (
    FloatArray,
    Suppressed,
    check_limits,
    check_option,
    check_probabilities,
    checked_candidates,
)
from edgewright.runtime.nms._by_class import best_of, overlaps_of, row_columns, rows_of_classes

OPTIONS: dict[str, Callable[[str], Any]] = {"method": str, "sigma": float, "least": float}

_PAIRS_AT_ONCE = 1 << 17


def suppress(
    boxes_xyxy: npt.ArrayLike,
    scores: npt.ArrayLike,
    class_ids: npt.ArrayLike,
    *,
    iou_threshold: float,
    class_agnostic: bool = False,
    max_detections: int | None = None,
    method: Literal["gaussian", "linear"] = "gaussian",
    sigma: float = 0.5,
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
    weight = _weight(method, sigma)
    lowered = confidences.copy()
    with np.errstate(all="ignore"):
        for rows in rows_of_classes(confidences, None if class_agnostic else labels):
            lowered[rows[rows >= 0]] *= _factors(row_columns(boxes, rows), weight)[rows >= 0]
    kept = (lowered >= np.float32(least)).nonzero()[0]
    return best_of(boxes, kept, lowered[kept], confidences, max_detections)


def _weight(method: str, sigma: float) -> Callable[[FloatArray], FloatArray]:
    if method == "gaussian":
        rate = np.float32(-1 / sigma)
        return lambda iou: np.exp(iou * iou * rate)
    if method == "linear":
        return lambda iou: np.float32(1) - iou
    raise UsageError(f"matrix suppression has no method '{method}'; it has: gaussian, linear")


def _factors(columns: FloatArray, weight: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """What the score of every box (C, K) of a table is multiplied by; a row is a class, best first."""
    most = np.zeros(columns.shape[1:], np.float32)
    for part, overlaps in _with_better(columns):
        most[:, part] = overlaps.max(axis=1)
    factors = np.ones_like(most)
    for part, overlaps in _with_better(columns):
        # A box that lies exactly on a better one has no say: its own weight is 0.
        ratio = weight(overlaps) / weight(most)[:, : overlaps.shape[1], None]
        factors[:, part] = np.fmin(np.fmin.reduce(ratio, axis=1), np.float32(1))
    return factors


def _with_better(columns: FloatArray) -> Iterator[tuple[slice, FloatArray]]:
    """The overlaps (C, R, J) of J boxes at a time with the R first of their row, 0 with those that are not better."""
    rows, length = columns.shape[1:]
    step = max(_PAIRS_AT_ONCE // max(rows * length, 1), 1)
    for start in range(0, length, step):
        part = slice(start, min(start + step, length))
        overlaps = overlaps_of(columns[:, :, : part.stop, None], columns[:, :, None, part])
        better = np.arange(part.stop)[:, None] < np.arange(part.start, part.stop)
        yield part, overlaps * better
