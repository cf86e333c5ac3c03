"""Refined boxes per class and class scores of K regions, before NMS: R-CNN, Fast R-CNN, Faster R-CNN."""

from edgewright.runtime.geometry import Placement
from edgewright.runtime.heads import Outputs, boxes_to_pixels, check_finite
from edgewright.runtime.heads.dense import candidates, without_doubles
from edgewright.runtime.results import Detections
from edgewright.runtime.spec import ModelSpec, PostprocessSpec

ROLES = ("boxes", "scores")
TASKS = ("detect",)
SUPPRESSES = True


def decode(outputs: Outputs, spec: ModelSpec, placement: Placement, settings: PostprocessSpec) -> Detections:
    """Detections from boxes [1, K, C, 4] and class probabilities [1, K, C], C = number of labels, best first.

    Every class has its own box of a region. Rows that fill up to K have probability 0 and are never found.
    """
    scores = outputs["scores"][0]
    check_finite(scores, "scores")
    regions, class_ids, kept_scores = candidates(scores, spec.head, settings)
    real = kept_scores > 0
    regions, class_ids, kept_scores = regions[real], class_ids[real], kept_scores[real]
    boxes = boxes_to_pixels(outputs["boxes"][0][regions, class_ids], spec.head, spec.preprocess.size_hw)
    check_finite(boxes, "boxes")
    kept = without_doubles(boxes, kept_scores, class_ids, settings)
    return Detections(placement.to_image(kept.boxes_xyxy), kept.scores, class_ids[kept.indices])
