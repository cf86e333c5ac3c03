"""The largest magnitude seen: nothing is clipped."""

from edgewright.calibration.histogram import Histogram


def threshold(histogram: Histogram) -> float:
    """The exact largest magnitude, not that of a bin's edge."""
    return histogram.largest
