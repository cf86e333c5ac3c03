import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.calibration.histogram import BINS, Histogram


def filled(parts: list[npt.NDArray[np.float32]]) -> Histogram:
    histogram = Histogram.empty()
    for part in parts:
        histogram.add(part)
    return histogram


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=30), min_size=1, max_size=6))
def test_every_value_is_counted_once_whatever_the_order_of_sizes(parts: list[list[float]]) -> None:
    arrays = [np.array(part, np.float32) for part in parts]
    histogram = filled(arrays)
    assert histogram.total == sum(len(part) for part in arrays)
    everything = np.concatenate(arrays)
    assert (histogram.low, histogram.high) == (everything.min(), everything.max())
    assert histogram.largest <= histogram.limit or histogram.limit == 0


def test_a_range_that_doubles_keeps_the_counts_of_numpy() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(0, scale, 4000).astype(np.float32) for scale in (0.1, 1.0, 30.0)]
    histogram = filled(parts)
    expected, _ = np.histogram(np.concatenate(parts), bins=64, range=(-histogram.limit, histogram.limit))
    # 64 bins of 128 each: no value lies on the border of one.
    np.testing.assert_array_equal(histogram.counts.reshape(64, BINS // 64).sum(axis=1), expected)


def test_zeros_before_the_first_value_are_counted_in_the_middle() -> None:
    histogram = filled([np.zeros(10, np.float32), np.array([3.1], np.float32)])
    magnitudes, width = histogram.magnitudes()
    assert magnitudes[0] == 10
    assert magnitudes[int(3.1 / width)] == 1


def test_merging_equals_counting_together() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(0, 1, 500).astype(np.float32), rng.normal(2, 9, 500).astype(np.float32)
    merged, together = filled([first]).merged(filled([second])), filled([first, second])
    assert merged.limit == together.limit
    np.testing.assert_array_equal(merged.counts, together.counts)
