"""The magnitude that 99.99 % of the values do not exceed."""

import numpy as np

from edgewright.calibration.histogram import Histogram

# NVIDIA's choice for convolutional networks (arXiv:2004.09602, table 5).
SHARE = 0.9999


def threshold(histogram: Histogram, *, share: float = SHARE) -> float:
    """The upper edge of the bin in which the share is reached."""
    counts, width = histogram.magnitudes()
    reached = int(np.searchsorted(np.cumsum(counts), share * counts.sum()))
    return (reached + 1) * width
