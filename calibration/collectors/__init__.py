"""From the distribution of a tensor's values to the largest magnitude that a quantized value stands for.

A collector is one file with `threshold(histogram) -> float`; larger magnitudes are clipped to it.
"""

from edgewright.calibration.histogram import Histogram
from edgewright.runtime import plugins


def threshold(method: str, histogram: Histogram) -> float:
    """The clipping threshold of `method` ("minmax", "entropy", "percentile", "mse"): above 0, at most the largest magnitude;
    1 for a tensor that holds nothing but zeros."""
    if histogram.largest <= 0.0:
        return 1.0
    module = plugins.load(__name__, method)
    return min(float(module.threshold(histogram)), histogram.largest)
