"""Hard NMS: a box goes when a better box of its class stays and overlaps it above the threshold.

The arithmetic is float32 in the order of torchvision's CPU kernel, so the same boxes stay to the last bit, also where
an IoU equals the threshold. Classes are kept apart by sorting and not, as in torchvision's `batched_nms` for up to
1000 boxes, by moving them apart, which rounds the coordinates. `runtime/nms/_greedy.py` tells how.
"""

import numpy.typing as npt

from edgewright.runtime.nms import IndexArray, Suppressed, check_limits
from edgewright.runtime.nms._greedy import Overlaps, suppress_greedily


def suppress(
    boxes_xyxy: npt.ArrayLike,
    scores: npt.ArrayLike,
    class_ids: npt.ArrayLike,
    *,
    iou_threshold: float,
    class_agnostic: bool = False,
    max_detections: int | None = None,
) -> Suppressed:
    """The candidates that stay, at most `max_detections`, by falling score, ties in input order.

    Boxes (N, 4) and scores (N,) count as float32, class ids (N,) are any integers. A box without area overlaps
    nothing; infinite values are allowed. UsageError for NaN, other shapes, or a threshold outside 0..1.
    """
    check_limits(iou_threshold, max_detections)
    return suppress_greedily(
        boxes_xyxy,
        scores,
        class_ids,
        Overlaps(iou_threshold),
        class_agnostic=class_agnostic,
        max_detections=max_detections,
    )


def keep_indices(
    boxes_xyxy: npt.ArrayLike,
    scores: npt.ArrayLike,
    class_ids: npt.ArrayLike,
    *,
    iou_threshold: float,
    class_agnostic: bool = False,
    max_detections: int | None = None,
) -> IndexArray:
    """Only the indices (K,) int64 of `suppress`."""
    return suppress(
        boxes_xyxy,
        scores,
        class_ids,
        iou_threshold=iou_threshold,
        class_agnostic=class_agnostic,
        max_detections=max_detections,
    ).indices
