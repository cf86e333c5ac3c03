"""Pixel-wise cross entropy of class maps: how sure a network is of the true class."""

from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.metrics.semantic import IGNORED
from edgewright.runtime.masks import Grid, interpolate

NAME = "cross-entropy"
# Rows of all planes that are at hand at once, in values.
_MOST_VALUES = 1 << 24
# A probability of 0, as an 8-bit engine gives, costs so much and not infinitely more.
_LEAST = 1e-7


def cross_entropy(
    planes: npt.NDArray[np.float32], truth: npt.NDArray[np.integer[Any]], grid: Grid
) -> tuple[float, int]:
    """The sum of -log p(true class) in nats over the pixels of a truth (H, W) that are not IGNORED, and how many they are.

    `planes` (C, h, w) are logits or probabilities on a grid over the image, brought to its pixels bilinearly first, as PyTorch's
    cross_entropy of interpolated logits. Values that are not negative and add up to 1 in every cell are probabilities; of one
    plane, the probability of class 1 against class 0.
    """
    probabilities = _are_probabilities(planes)
    if len(planes) == 1:
        planes = np.concatenate([1 - planes, planes])
    height, width = truth.shape
    rows = max(1, _MOST_VALUES // (len(planes) * width))
    total, pixels = 0.0, 0
    for top in range(0, height, rows):
        window = (0, top, width, min(top + rows, height))
        part = truth[window[1] : window[3]]
        scored = part != IGNORED
        values = np.stack([interpolate(plane, grid, window)[scored] for plane in planes])
        own = np.take_along_axis(values, part[scored].astype(np.int64)[None], axis=0)[0]
        total += _of_probabilities(own) if probabilities else _of_logits(values, own)
        pixels += len(own)
    return total, pixels


def _are_probabilities(planes: npt.NDArray[np.float32]) -> bool:
    if len(planes) == 1:
        return True
    return bool(planes.min() >= 0 and np.allclose(planes.sum(axis=0), 1, atol=1e-2))


def _of_probabilities(own: npt.NDArray[np.float32]) -> float:
    return float(-np.log(np.clip(own.astype(np.float64), _LEAST, 1.0)).sum())


def _of_logits(values: npt.NDArray[np.float32], own: npt.NDArray[np.float32]) -> float:
    largest = values.max(axis=0)
    return float((np.log(np.exp(values - largest).sum(axis=0)) + largest - own).sum(dtype=np.float64))
