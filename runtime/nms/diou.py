"""DIoU-NMS: boxes that overlap but whose centres lie apart both stay, for they are likely two objects.

Zheng et al., "Distance-IoU Loss", arXiv:1911.08287, section 3.4: hard suppression with IoU - d²/c² in place of IoU, where d is
the distance of the two centres and c the diagonal of the smallest box around both.
"""

import numpy as np
import numpy.typing as npt

from edgewright.runtime.nms import FloatArray, Suppressed, check_limits
from edgewright.runtime.nms._greedy import BoolArray, Overlaps, suppress_greedily


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

    A pair whose distance-IoU equals the threshold stays, as in hard suppression.
    """
    check_limits(iou_threshold, max_detections)
    return suppress_greedily(
        boxes_xyxy,
        scores,
        class_ids,
        _DistanceOverlaps(iou_threshold),
        class_agnostic=class_agnostic,
        max_detections=max_detections,
    )


class _DistanceOverlaps(Overlaps):
    def __call__(self, better: FloatArray, worse: FloatArray) -> BoolArray:
        # Columns hold x1, y1, -x2, -y2: the difference of the first two and the last two pairs is twice a centre.
        twice_apart = (better[:2] - better[2:4]) - (worse[:2] - worse[2:4])
        around = np.minimum(better[:2], worse[:2]) + np.minimum(better[2:4], worse[2:4])
        distance = (twice_apart[0] * twice_apart[0] + twice_apart[1] * twice_apart[1]) / 4
        diagonal = around[0] * around[0] + around[1] * around[1]
        too_much: BoolArray = self.iou(better, worse) - distance / diagonal > self.threshold
        return too_much
