"""Hard NMS whose IoU threshold follows the size of the object.

A shift of two pixels takes a third of the overlap from a box of 16 pixels and a fiftieth from one of 200: what a network says
twice of a small object overlaps less than what it says twice of a large one. So the threshold rises with the side of a box,
the square root of its area: from `iou_threshold` - swing for boxes up to `small` pixels on a straight line to
`iou_threshold` + swing from `large` pixels on. A negative swing does the opposite, for crowds of small objects that truly
overlap. The box at risk, the worse of a pair, says which threshold holds. Sides are in pixels of the network's input.
"""

import numpy as np
import numpy.typing as npt

from edgewright.runtime.errors import UsageError
from edgewright.runtime.nms import FloatArray, Suppressed, check_limits, check_option
from edgewright.runtime.nms._greedy import BoolArray, Overlaps, suppress_greedily

OPTIONS = {"swing": float, "small": float, "large": float}


def suppress(
    boxes_xyxy: npt.ArrayLike,
    scores: npt.ArrayLike,
    class_ids: npt.ArrayLike,
    *,
    iou_threshold: float,
    class_agnostic: bool = False,
    max_detections: int | None = None,
    swing: float = 0.1,
    small: float = 32.0,  # COCO's bounds of small and large objects, pycocotools Params.areaRng: 32² and 96²
    large: float = 96.0,
) -> Suppressed:
    """The candidates that stay, at most `max_detections`, by falling score, ties in input order.

    Thresholds that the swing would move beyond 0 or 1 stay there.
    """
    check_limits(iou_threshold, max_detections)
    check_option("swing", swing, above=-1.0, up_to=1.0)
    if not 0 <= small < large < float("inf"):
        raise UsageError(f"small is {small:g} and large {large:g} pixels; small must be at least 0 and below large")
    return suppress_greedily(
        boxes_xyxy,
        scores,
        class_ids,
        _OverlapsBySize(iou_threshold, swing, small, large),
        class_agnostic=class_agnostic,
        max_detections=max_detections,
    )


class _OverlapsBySize(Overlaps):
    def __init__(self, iou_threshold: float, swing: float, small: float, large: float) -> None:
        super().__init__(iou_threshold)
        self._sides = small, large
        self._thresholds = np.clip((iou_threshold - swing, iou_threshold + swing), 0.0, 1.0)

    def __call__(self, better: FloatArray, worse: FloatArray) -> BoolArray:
        # A box that is turned inside out has a negative area, and overlaps nothing.
        sides = np.sqrt(np.maximum(worse[4], 0))
        too_much: BoolArray = self.iou(better, worse) > np.interp(sides, self._sides, self._thresholds)
        return too_much
