import numpy as np
import numpy.typing as npt
import pytest
from onnxruntime.quantization.calibrate import HistogramCollector

from edgewright.calibration.collectors import threshold
from edgewright.calibration.histogram import Histogram
from edgewright.runtime.errors import UsageError

Values = npt.NDArray[np.float32]


def histogram_of(values: Values) -> Histogram:
    histogram = Histogram.empty()
    histogram.add(values)
    return histogram


def activations(seed: int = 0) -> Values:
    """Like a layer's: most values small, a long tail on one side."""
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.exponential(1.0, 200_000), -rng.exponential(0.1, 50_000), [40.0]])
    return np.asarray(values, np.float32)


def collected_by_onnxruntime(method: str, values: Values) -> float:
    collector = HistogramCollector(
        method=method, symmetric=True, num_bins=2048, num_quantized_bins=255, percentile=99.99, scenario="same"
    )
    collector.collect({"t": [values]})
    low, high = collector.compute_collection_result()["t"][:2]
    return float(max(abs(np.asarray(low).item()), abs(np.asarray(high).item())))


def test_minmax_is_the_exact_largest_magnitude() -> None:
    assert threshold("minmax", histogram_of(activations())) == 40.0


def test_the_percentile_is_numpys_within_a_bin() -> None:
    values = activations()
    expected = np.percentile(np.abs(values), 99.99)
    assert threshold("percentile", histogram_of(values)) == pytest.approx(expected, abs=2 * 64 / 8192)


def test_the_percentile_agrees_with_onnxruntimes_collector() -> None:
    values = activations()
    ours = threshold("percentile", histogram_of(values))
    # Its bins are 40 / 1024 wide, and its percentile leaves half of the share on each side.
    theirs = collected_by_onnxruntime("percentile", values)
    assert ours == pytest.approx(theirs, rel=0.08)


def test_the_least_squared_error_is_that_of_a_direct_search_over_the_values() -> None:
    values = activations()
    ours = threshold("mse", histogram_of(values))

    def error(limit: float) -> float:
        step = limit / 127
        return float(((np.clip(np.rint(values / step), -127, 127) * step - values) ** 2).sum())

    candidates = np.linspace(1, 40, 400)
    best = min(error(candidate) for candidate in candidates)
    assert error(ours) <= best * 1.01
    assert error(ours) < 0.5 * error(40.0)


def test_entropy_clips_as_onnxruntimes_collector_does() -> None:
    rng = np.random.default_rng(5)
    values = np.asarray(rng.laplace(0, 1, 400_000), np.float32)
    ours, theirs = threshold("entropy", histogram_of(values)), collected_by_onnxruntime("entropy", values)
    largest = float(np.abs(values).max())
    assert ours == pytest.approx(theirs, abs=0.15 * largest)
    assert ours < 0.9 * largest


def test_a_tensor_of_zeros_has_the_threshold_one() -> None:
    for method in ("minmax", "entropy", "percentile", "mse"):
        assert threshold(method, histogram_of(np.zeros(10, np.float32))) == 1.0


def test_an_unknown_collector_names_the_closest() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'entropy'"):
        threshold("entrop", histogram_of(activations()))
