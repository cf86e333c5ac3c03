"""The magnitude whose clipped and rounded distribution differs least from the original: Kullback-Leibler divergence.

The algorithm is that of S. Migacz, "8-bit Inference with TensorRT", GTC 2017. Clipping follows the density of values and not
their importance: of a detector's scores and boxes it cuts the rare large ones, so it is no default here.
"""

import numpy as np
import numpy.typing as npt

from edgewright.calibration.histogram import Histogram

_LEVELS = 128
_BINS = 2048


def threshold(histogram: Histogram) -> float:
    """The upper edge of the best number of bins, of 2048 over the range seen."""
    counts = _resampled(histogram)
    width = histogram.largest / _BINS
    ends = range(_LEVELS, _BINS + 1, 4)
    divergences = [divergence(counts, end) for end in ends]
    return float(ends[int(np.argmin(divergences))] * width)


def divergence(counts: npt.NDArray[np.float64], end: int) -> float:
    """KL(P || Q) of the first `end` bins with the tail added to the last, against the same bins merged into 128 levels."""
    reference = counts[:end].copy()
    reference[-1] += counts[end:].sum()
    edges = np.linspace(0, end, _LEVELS + 1).round().astype(int)
    level = np.repeat(np.arange(_LEVELS), np.diff(edges))
    # Merged from the counts without the tail, as in the paper: what is clipped then shows as a difference.
    filled = counts[:end] > 0
    mass = np.bincount(level, weights=counts[:end], minlength=_LEVELS)
    places = np.bincount(level, weights=filled.astype(float), minlength=_LEVELS)
    candidate = np.where(filled, (mass / np.maximum(places, 1))[level], 0.0)
    if not candidate.any():
        return float("inf")
    p, q = reference / reference.sum(), candidate / candidate.sum()
    seen = p > 0
    # A bin that only the tail filled has no counterpart: a very small one keeps the divergence finite and large.
    return float((p[seen] * np.log(p[seen] / np.maximum(q[seen], 1e-12))).sum())


def _resampled(histogram: Histogram) -> npt.NDArray[np.float64]:
    """Counts of magnitudes in 2048 equal bins over [0, largest]; a bin's count is spread evenly over its width."""
    counts, width = histogram.magnitudes()
    cumulative = np.concatenate([[0.0], np.cumsum(counts)])
    edges = np.linspace(0.0, histogram.largest, _BINS + 1)
    edges[-1] = width * len(counts)
    return np.diff(np.interp(edges, np.arange(len(counts) + 1) * width, cumulative))
