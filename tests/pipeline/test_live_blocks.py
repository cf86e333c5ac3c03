"""Expected numbers follow from the theory of autoregressive series and of the bootstrap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.pipeline.live.blocks import block_length, block_weights, longest_block


def autoregressive(frames: int, rho: float, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    noise, series = random.standard_normal(frames), np.zeros(frames)
    series[0] = noise[0]
    for n in range(1, frames):
        series[n] = rho * series[n - 1] + np.sqrt(1 - rho**2) * noise[n]
    return series


@given(st.integers(1, 400), st.integers(1, 60), st.integers(0, 1000))
def test_a_resample_is_made_of_whole_blocks_in_a_circle_and_has_as_many_frames(
    frames: int, block: int, seed: int
) -> None:
    block = min(block, frames)
    weights = block_weights(np.random.default_rng(seed), frames, block)
    assert weights.shape == (frames,)
    assert weights.sum() == frames
    assert weights.min() >= 0
    # Every block begins where the count rises and ends where it falls: as many changes at most as blocks have ends.
    changes = np.abs(np.diff(np.append(weights, weights[0]))).sum()
    assert changes <= 2 * -(-frames // block)


def test_blocks_of_one_frame_are_the_usual_bootstrap() -> None:
    """Counts of a frame are binomial (n, 1 / n): their variance is 1 - 1 / n."""
    random = np.random.default_rng(3)
    counts = np.array([block_weights(random, 50, 1) for _ in range(4000)])
    assert counts.mean() == pytest.approx(1.0)
    assert counts.var() == pytest.approx(1 - 1 / 50, rel=0.03)


@pytest.mark.parametrize("rho", [0.5, 0.8])
def test_the_length_is_the_one_that_theory_gives_an_autoregressive_series(rho: float) -> None:
    """Politis & White 2004: b = (1.5 (G / g)² n)^(1/3), and of AR(1) G / g = 2 rho / (1 - rho²)."""
    frames = 20_000
    wanted = (1.5 * (2 * rho / (1 - rho**2)) ** 2 * frames) ** (1 / 3)
    found = np.median([block_length(autoregressive(frames, rho, seed)) for seed in range(9)])
    assert found == pytest.approx(wanted, rel=0.3)


def test_independent_frames_are_drawn_one_by_one() -> None:
    lengths = [block_length(np.random.default_rng(seed).standard_normal(500)) for seed in range(40)]
    assert np.median(lengths) <= 2


@pytest.mark.parametrize("series", [np.zeros(100), np.ones(3), np.zeros(0), np.arange(2.0)])
def test_a_series_that_says_nothing_gives_blocks_that_can_be_drawn(series: np.ndarray) -> None:
    assert 1 <= block_length(series) <= longest_block(len(series))


def test_frames_that_never_cease_to_resemble_each_other_are_five_blocks() -> None:
    assert block_length(np.sin(np.arange(500) / 80)) == longest_block(500) == 100


def test_what_stays_in_view_is_seen_through_the_noise_of_hits_and_misses() -> None:
    """The same objects for 60 frames each: a score that is mostly noise hides it, their counts do not."""
    random = np.random.default_rng(0)
    in_view = np.repeat(random.integers(0, 4, (5, 3)), 60, axis=0)
    noisy = in_view[:, 0] + random.normal(0, 6, 300)
    assert block_length(noisy) < 10
    assert block_length(in_view.astype(float)) >= 40


def test_pictures_with_other_objects_each_are_drawn_one_by_one() -> None:
    counts = np.random.default_rng(2).poisson(1.5, (500, 80)).astype(float)
    assert block_length(counts) == 1


def test_blocks_know_how_uncertain_a_mean_of_frames_that_resemble_each_other_is() -> None:
    """The variance of the mean of AR(1) is (1 + rho) / (1 - rho) / n; single frames would say 1 / n, a ninth of it."""
    rho, frames = 0.8, 2000
    series = autoregressive(frames, rho, 5)
    random, block = np.random.default_rng(0), block_length(series)
    means = [float(block_weights(random, frames, block) @ series) / frames for _ in range(2000)]
    assert np.std(means) == pytest.approx(np.sqrt((1 + rho) / (1 - rho) / frames), rel=0.25)
