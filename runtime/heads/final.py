"""Boxes, scores and classes of finished detections: DETR-like networks, and graphs with NMS inside."""

import numpy as np

from edgewright.runtime.geometry import Placement
from edgewright.runtime.heads import Outputs, boxes_to_pixels, check_finite
from edgewright.runtime.results import Detections
from edgewright.runtime.spec import ModelSpec, PostprocessSpec

ROLES = ("boxes", "scores", "classes")
OPTIONAL_ROLES = ("count",)
TASKS = ("detect",)


def decode(outputs: Outputs, spec: ModelSpec, placement: Placement, settings: PostprocessSpec) -> Detections:
    """Detections from boxes [1, K, 4], scores [1, K], classes [1, K] and, where given, the number of valid rows [1].

    Rows below the threshold, beyond the count, or with a class outside the labels (padding) are dropped.
    """
    scores = np.asarray(outputs["scores"][0], np.float32)
    count = int(outputs["count"].reshape(-1)[0]) if "count" in outputs else len(scores)
    check_finite(scores[:count], "scores")
    check_finite(np.asarray(outputs["classes"][0][:count]), "classes")
    classes = np.nan_to_num(outputs["classes"][0], nan=-1).astype(np.int64)
    valid = (np.arange(len(scores)) < count) & (scores >= settings.conf_threshold)
    valid &= (classes >= 0) & (classes < len(spec.labels))
    order = np.flatnonzero(valid)
    order = order[np.argsort(-scores[order], kind="stable")][: settings.max_detections]
    boxes = boxes_to_pixels(outputs["boxes"][0][order], spec.head, spec.preprocess.size_hw)
    check_finite(boxes, "boxes")
    return Detections(placement.to_image(boxes), scores[order], classes[order])
