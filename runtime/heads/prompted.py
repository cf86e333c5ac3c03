"""One mask for every prompt, chosen among an answer and its alternatives by predicted quality: SAM 2, EdgeTAM."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.runtime.geometry import Placement
from edgewright.runtime.heads import Outputs, check_finite
from edgewright.runtime.masks import Grid, interpolate, output_grid
from edgewright.runtime.results import BoxMask, Detections
from edgewright.runtime.spec import ModelSpec, PostprocessSpec, PromptSpec

ROLES = ("masks", "quality")
TASKS = ("prompted",)

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def decode(outputs: Outputs, spec: ModelSpec, placement: Placement, settings: PostprocessSpec) -> Detections:
    """One object for each of N prompts, from mask logits [N, M, h, w] and predicted qualities [N, M].

    Scores are qualities: the overlap (IoU) with the object that the network expects of its mask. Those below the confidence
    threshold are left out. A mask without a pixel has the box 0, 0, 0, 0.
    """
    masks, quality = _checked(outputs)
    rows = np.arange(len(masks))
    chosen = choose(masks, quality, spec.head.prompts or PromptSpec())
    return _objects(masks[rows, chosen], quality[rows, chosen], spec, placement, settings)


def alternatives(outputs: Outputs, spec: ModelSpec, placement: Placement, settings: PostprocessSpec) -> Detections:
    """The M - 1 alternatives of every prompt instead of its one answer, prompt by prompt in the network's order."""
    masks, quality = _checked(outputs)
    others = masks[:, 1:].reshape(-1, *masks.shape[2:])
    return _objects(others, quality[:, 1:].reshape(-1), spec, placement, settings)


def choose(masks: Floats, quality: Floats, rule: PromptSpec) -> Ints:
    """Which of its M masks [N, M, h, w] answers each prompt (N,): the first, or the best alternative to an unstable one."""
    first = np.zeros(len(masks), np.int64)
    if rule.stability_margin is None or rule.least_stability is None or masks.shape[1] == 1:
        return first
    logits = masks[:, 0]
    sure = np.count_nonzero(logits > rule.stability_margin, axis=(1, 2))
    perhaps = np.count_nonzero(logits > -rule.stability_margin, axis=(1, 2))
    stable = sure >= rule.least_stability * perhaps
    return np.where(stable, first, 1 + quality[:, 1:].argmax(axis=1))


def mask_at_pixels(logits: Floats, grid: Grid, size_hw: tuple[int, int], *, threshold: float) -> BoxMask:
    """The pixels of an image of `size_hw` where the interpolated logits (h, w) reach the threshold, cropped to them.

    Only the pixels are computed that some cell above the threshold has a say in.
    """
    inside = logits >= threshold
    x = _reach(np.flatnonzero(inside.any(axis=0)), grid.scale_xy[0], grid.offset_xy[0], size_hw[1])
    y = _reach(np.flatnonzero(inside.any(axis=1)), grid.scale_xy[1], grid.offset_xy[1], size_hw[0])
    if x[0] >= x[1] or y[0] >= y[1]:
        return _NOTHING
    pixels = interpolate(logits, grid, (x[0], y[0], x[1], y[1])) >= threshold
    columns, rows = np.flatnonzero(pixels.any(axis=0)), np.flatnonzero(pixels.any(axis=1))
    if not len(rows):
        return _NOTHING
    part = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return BoxMask((x[0] + int(columns[0]), y[0] + int(rows[0])), part.copy())


_NOTHING = BoxMask((0, 0), np.zeros((0, 0), bool))


def _reach(cells: Ints, scale: float, offset: float, pixels: int) -> tuple[int, int]:
    """The first pixel and the last + 1 along an axis that interpolation gives something of the cells."""
    if not len(cells):
        return 0, 0
    low, high = (cells[0] - 0.5 - offset) / scale, (cells[-1] + 1.5 - offset) / scale
    return max(math.floor(low), 0), min(math.ceil(high), pixels)


def _checked(outputs: Outputs) -> tuple[Floats, Floats]:
    masks, quality = (np.asarray(outputs[role], np.float32) for role in ROLES)
    check_finite(masks, "masks")
    check_finite(quality, "quality")
    return masks, quality


def _objects(
    logits: Floats, quality: Floats, spec: ModelSpec, placement: Placement, settings: PostprocessSpec
) -> Detections:
    rows = np.flatnonzero(quality >= settings.conf_threshold)
    grid = output_grid(placement, spec.preprocess.size_hw, (logits.shape[1], logits.shape[2]))
    least = math.log(settings.mask_threshold / (1 - settings.mask_threshold))
    masks = tuple(mask_at_pixels(logits[row], grid, placement.source_hw, threshold=least) for row in rows)
    boxes = np.array([_box(mask) for mask in masks], np.float32).reshape(-1, 4)
    return Detections(boxes, quality[rows], np.zeros(len(rows), np.int64), masks)


def _box(mask: BoxMask) -> tuple[Any, ...]:
    (x, y), (height, width) = mask.top_left_xy, mask.pixels.shape
    return x, y, x + width, y + height
