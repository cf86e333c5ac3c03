"""Finished detections, each with a small mask of its box: Mask R-CNN."""

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from edgewright.runtime.geometry import Placement
from edgewright.runtime.heads import Outputs, boxes_to_pixels, check_finite
from edgewright.runtime.results import Boxes, BoxMask, Detections
from edgewright.runtime.spec import ModelSpec, PostprocessSpec

ROLES = ("boxes", "scores", "classes", "masks")
TASKS = ("instance",)

Floats = npt.NDArray[np.float32]


def decode(outputs: Outputs, spec: ModelSpec, placement: Placement, settings: PostprocessSpec) -> Detections:
    """Detections with masks from boxes [1, D, 4], scores [1, D], classes [1, D] and mask logits [1, D, m, m].

    The graph has suppressed doubles already; rows that fill up to D have score 0 and are never found.
    """
    scores = np.asarray(outputs["scores"][0], np.float32)
    check_finite(scores, "scores")
    rows = np.flatnonzero((scores >= settings.conf_threshold) & (scores > 0))
    rows = rows[np.argsort(-scores[rows], kind="stable")][: settings.max_detections]
    boxes = boxes_to_pixels(outputs["boxes"][0][rows], spec.head, spec.preprocess.size_hw)
    logits = np.asarray(outputs["masks"][0][rows], np.float32)
    check_finite(boxes, "boxes")
    check_finite(logits, "masks")
    classes = np.asarray(outputs["classes"][0][rows]).astype(np.int64)
    found = Detections(placement.to_image(boxes), scores[rows], classes)
    # A mask spans its whole box, also where that reaches over the image's edge into the padding.
    whole = _whole_boxes(boxes, placement)
    # Beyond 60 a probability is 0 or 1 in float32, and from 89 on the exponential overflows.
    probabilities = 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
    masks = (
        paste_mask(mask, box, placement.source_hw, threshold=settings.mask_threshold)
        for mask, box in zip(probabilities, whole, strict=True)
    )
    return replace(found, masks=tuple(masks))


def paste_mask(
    probabilities: Floats, box_xyxy: npt.NDArray[np.float32], size_hw: tuple[int, int], *, threshold: float
) -> BoxMask:
    """The pixels of an image of `size_hw` above the threshold, from probabilities (m, m) over the box.

    As torchvision pastes (models/detection/roi_heads.py): a cell of zeros all around, the box grown by it and cut to whole
    pixels, bilinear in between.
    """
    size = probabilities.shape[0]
    half = (box_xyxy[2:] - box_xyxy[:2]) * np.float32(0.5) * np.float32((size + 2) / size)
    middle = (box_xyxy[2:] + box_xyxy[:2]) * np.float32(0.5)
    (x1, y1), (x2, y2) = (middle - half).astype(np.int64), (middle + half).astype(np.int64)
    width, height = max(int(x2 - x1) + 1, 1), max(int(y2 - y1) + 1, 1)
    full = cv2.resize(np.pad(probabilities, 1), (width, height), interpolation=cv2.INTER_LINEAR) > threshold
    left, top = max(int(x1), 0), max(int(y1), 0)
    part = full[top - int(y1) : max(size_hw[0] - int(y1), 0), left - int(x1) : max(size_hw[1] - int(x1), 0)]
    return BoxMask((left, top), part)


def _whole_boxes(boxes_xyxy: Boxes, placement: Placement) -> Boxes:
    """Boxes in tensor pixels → image pixels, not clipped."""
    scale = np.array(placement.scale_xy * 2, np.float32)
    return np.asarray((boxes_xyxy - np.array(placement.offset_xy * 2, np.float32)) / scale, np.float32)
