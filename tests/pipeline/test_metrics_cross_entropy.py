"""Cross entropy of class maps against scikit-learn and PyTorch."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.pipeline.metrics import cross_entropy as module
from edgewright.pipeline.metrics.cross_entropy import cross_entropy
from edgewright.pipeline.metrics.semantic import IGNORED
from edgewright.runtime.masks import Grid

SAME = Grid((1.0, 1.0), (0.0, 0.0))


def random_case(seed: int, classes: int, cells_hw: tuple[int, int], size_hw: tuple[int, int]) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(IGNORED, classes, size_hw)
    truth[0, 0] = 0
    return rng.normal(0, 1.5, (classes, *cells_hw)).astype(np.float32), truth


def softmax(planes: Any) -> Any:
    exponentials = np.exp(planes - planes.max(axis=0))
    return exponentials / exponentials.sum(axis=0)


@given(st.integers(0, 99), st.integers(2, 5))
@settings(max_examples=30)
def test_the_mean_is_the_log_loss_of_scikit_learn(seed: int, classes: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    planes, truth = random_case(seed, classes, (6, 7), (6, 7))
    probabilities = softmax(planes.astype(np.float64))
    scored = truth != IGNORED
    expected = metrics.log_loss(
        truth[scored], probabilities.reshape(classes, -1).T[scored.ravel()], labels=range(classes)
    )
    for given_planes in (planes, probabilities.astype(np.float32)):
        nats, pixels = cross_entropy(given_planes, truth, SAME)
        assert pixels == np.count_nonzero(scored)
        assert nats / pixels == pytest.approx(expected, rel=1e-5)


@given(st.integers(0, 99))
@settings(max_examples=20)
def test_coarse_logits_are_interpolated_as_pytorch_does(seed: int) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    planes, truth = random_case(seed, 4, (5, 6), (20, 18))
    large = torch.nn.functional.interpolate(
        torch.from_numpy(planes)[None], (20, 18), mode="bilinear", align_corners=False
    )
    expected = torch.nn.functional.cross_entropy(large, torch.from_numpy(truth)[None], ignore_index=IGNORED)
    nats, pixels = cross_entropy(planes, truth, Grid((6 / 18, 5 / 20), (0.0, 0.0)))
    assert nats / pixels == pytest.approx(float(expected), rel=1e-4)


def test_one_plane_is_the_probability_of_the_second_class() -> None:
    planes = np.array([[[0.25, 0.75, 0.0]]], np.float32)
    nats, pixels = cross_entropy(planes, np.array([[0, 1, 1]]), SAME)
    assert pixels == 3
    assert nats == pytest.approx(-2 * np.log(0.75) - np.log(1e-7), rel=1e-5)


def test_a_large_map_is_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    planes, truth = random_case(1, 3, (8, 9), (40, 36))
    whole = cross_entropy(planes, truth, Grid((9 / 36, 8 / 40), (0.0, 0.0)))
    monkeypatch.setattr(module, "_MOST_VALUES", 3 * 36 * 7)
    assert cross_entropy(planes, truth, Grid((9 / 36, 8 / 40), (0.0, 0.0))) == pytest.approx(whole, rel=1e-5)
