"""Dense boxes with mask coefficients, and the prototypes that they weight: YOLO-seg, YOLACT."""

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgewright.runtime.geometry import Placement
from edgewright.runtime.heads import Outputs, check_finite
from edgewright.runtime.heads.dense import detect
from edgewright.runtime.masks import Grid, Hats, Window, cells_under, hats_of, output_grid, pixel_window
from edgewright.runtime.results import BoxMask, Detections
from edgewright.runtime.spec import ModelSpec, PostprocessSpec

ROLES = ("boxes", "scores", "coefficients", "prototypes")
TASKS = ("instance",)
SUPPRESSES = True

Floats = npt.NDArray[np.float32]


def decode(outputs: Outputs, spec: ModelSpec, placement: Placement, settings: PostprocessSpec) -> Detections:
    """Detections with masks from boxes [1, N, 4], scores [1, N, C], coefficients [1, N, P] and prototypes [1, P, h, w].

    Masks are made after suppression, for the detections that remain, and only inside their boxes.
    """
    found, rows = detect(outputs, spec, placement, settings)
    coefficients = np.asarray(outputs["coefficients"][0][rows], np.float32)
    prototypes = np.asarray(outputs["prototypes"][0], np.float32)
    check_finite(coefficients, "coefficients")
    check_finite(prototypes, "prototypes")
    map_hw = (prototypes.shape[1], prototypes.shape[2])
    grid = output_grid(placement, spec.preprocess.size_hw, map_hw)
    # Bolya et al., "YOLACT", arXiv:1904.02689, section 3: mask = sigmoid(prototypes * coefficients) above the threshold.
    least = math.log(settings.mask_threshold / (1 - settings.mask_threshold))
    hats = hats_of(grid, map_hw, placement.source_hw)
    masks = []
    for weights, box in zip(coefficients, found.boxes_xyxy, strict=True):
        window = pixel_window(box, placement.source_hw)
        masks.append(BoxMask(window[:2], _logits(weights, prototypes, grid, hats, window) >= least))
    return replace(found, masks=tuple(masks))


def _logits(weights: Floats, prototypes: Floats, grid: Grid, hats: Hats, window: Window) -> Floats:
    """The mask's logits at the pixels of `window`, none when it is empty."""
    if window[2] <= window[0] or window[3] <= window[1]:
        return np.zeros((0, 0), np.float32)
    x1, y1, x2, y2 = cells = cells_under(window, grid, (prototypes.shape[1], prototypes.shape[2]), margin=1)
    part = prototypes[:, y1:y2, x1:x2].reshape(len(weights), -1)
    return hats.interpolate((weights @ part).reshape(y2 - y1, x2 - x1), cells, window)
