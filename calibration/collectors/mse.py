"""The magnitude at which rounding and clipping together do the least squared error."""

import numpy as np
import numpy.typing as npt

from edgewright.calibration.histogram import Histogram

LEVELS = 127
_CANDIDATES = 200
_SMALLEST_SHARE = 0.05


def threshold(histogram: Histogram, *, levels: int = LEVELS) -> float:
    """The best of 200 equally spaced thresholds, for symmetric integers of `levels` steps on each side of zero."""
    counts, width = histogram.magnitudes()
    used = np.flatnonzero(counts)
    values, weights = ((used + 0.5) * width).astype(np.float64), counts[used].astype(np.float64)
    candidates = np.linspace(_SMALLEST_SHARE, 1.0, _CANDIDATES) * histogram.largest
    errors = [squared_error(values, weights, float(candidate), levels) for candidate in candidates]
    return float(candidates[int(np.argmin(errors))])


def squared_error(
    values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], threshold: float, levels: int
) -> float:
    """The weighted squared error of magnitudes that are rounded to multiples of threshold / levels and clipped."""
    step = threshold / levels
    quantized = np.minimum(np.rint(values / step), levels) * step
    return float((weights * (values - quantized) ** 2).sum())
