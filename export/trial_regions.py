"""Regions to try a network with that takes them from outside: ordinary ones, and those at the limits."""

import numpy as np

from edgewright.runtime.proposals.windows import Windows
from edgewright.runtime.results import Boxes, Image


def trial_regions(image: Image, count: int) -> Boxes:
    """`count` regions (N, 4) in pixels of the image, at random but the same every time, with the odd ones among them.

    Where there is room for it, a last tenth stays empty, so that padding is tried as well.
    """
    height, width = image.shape[:2]
    rng = np.random.default_rng(count)
    a, b = (rng.random((count, 2)) * [width, height] for _ in range(2))
    ordinary = np.concatenate([np.minimum(a, b), np.maximum(a, b)], 1)
    return np.concatenate([_odd(height, width), ordinary])[: count - count // 10].astype(np.float32)


def window_regions(image: Image, count: int) -> Boxes:
    """`count` windows: regions that any machine gives for the image."""
    return Windows()(image)[:count]


def _odd(height: int, width: int) -> Boxes:
    """The whole, half a pixel in each corner, slivers, one over the edge, and two without extent."""
    return np.array(
        [
            [0, 0, width, height],
            [0, 0, 0.5, 0.5],
            [width - 0.5, height - 0.5, width, height],
            [0, height / 2, width, height / 2 + 0.25],
            [width / 2, 0, width / 2 + 0.25, height],
            [-width, -height, 2 * width, 2 * height],
            [width / 2, height / 2, width / 2, height / 2],
            [width, height, width, height],
        ],
        np.float32,
    )
