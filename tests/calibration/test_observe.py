import logging
from pathlib import Path

import numpy as np
import pytest
from tests.calibration.graphs import Array, images, residual_network

from edgewright.calibration.network import prepared
from edgewright.calibration.observe import Observation, observe
from edgewright.calibration.sites import choose_sites
from edgewright.runtime.errors import CalibrationError

NETWORK = prepared(residual_network())
TENSORS = choose_sites(NETWORK).tensors
PICTURES = images(40)


class Interrupted(Exception):
    """Stands for Ctrl-C."""


def seen(pictures: list[Array], cache: Path | None = None, **key: str) -> tuple[Observation, list[int]]:
    asked: list[int] = []

    def feed(index: int) -> dict[str, Array]:
        asked.append(index)
        return {"images": pictures[index]}

    feeds = [lambda index=index: feed(index) for index in range(len(pictures))]
    return observe(NETWORK.model, TENSORS, feeds, cache=cache, key=key), asked


def test_an_interrupted_calibration_goes_on_and_gives_the_same(tmp_path: Path) -> None:
    cache = tmp_path / "cache.npz"

    def stop(done: int, total: int) -> None:
        if done == 20:
            raise Interrupted

    feeds = [lambda index=index: {"images": PICTURES[index]} for index in range(40)]
    with pytest.raises(Interrupted):
        observe(NETWORK.model, TENSORS, feeds, cache=cache, key={"set": "a"}, tell=stop)
    resumed, asked = seen(PICTURES, cache, set="a")
    whole, _ = seen(PICTURES)
    assert asked == list(range(16, 40))
    assert resumed.curve == whole.curve
    for name in TENSORS:
        np.testing.assert_array_equal(resumed.histograms[name].counts, whole.histograms[name].counts)


def test_a_finished_calibration_is_not_run_again(tmp_path: Path) -> None:
    seen(PICTURES, tmp_path / "cache.npz", set="a")
    _, asked = seen(PICTURES, tmp_path / "cache.npz", set="a")
    assert asked == []


def test_a_cache_of_something_else_says_which_part_differs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = tmp_path / "cache.npz"
    seen(PICTURES[:4], cache, images="a", model="m")
    with caplog.at_level(logging.WARNING):
        _, asked = seen(PICTURES[:4], cache, images="b", model="m")
    assert asked == [0, 1, 2, 3]
    assert "of another images" in caplog.text


def test_a_damaged_cache_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = tmp_path / "cache.npz"
    cache.write_bytes(b"PK\x03\x04 nothing")
    _, asked = seen(PICTURES[:4], cache)
    assert len(asked) == 4
    assert "cannot be read" in caplog.text


def test_nan_names_the_tensor_and_the_image() -> None:
    broken = PICTURES[:3]
    broken[2] = np.full_like(broken[2], np.nan)
    with pytest.raises(CalibrationError, match=r"NaN or infinite on calibration image 3"):
        seen(broken)


def test_the_curve_falls_to_zero_and_says_how_many_images_were_enough() -> None:
    observation, _ = seen(PICTURES)
    assert [count for count, _ in observation.curve] == [4, 8, 16, 32, 40]
    assert observation.curve[-1][1] == 0.0
    assert observation.enough(tolerance=1.0) == 4
    assert observation.enough(tolerance=-1.0) is None
