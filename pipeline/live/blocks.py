"""Bootstrap of frames that resemble their neighbours: blocks of consecutive frames are drawn, as long as the frames ask for."""

import math

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
LEAST_BLOCKS = 5


def block_weights(random: np.random.Generator, frames: int, block: int) -> Ints:
    """How often every frame occurs in one circular block resample (Politis & Romano, "A circular block-resampling procedure for
    stationary data", 1992); with blocks of 1 it is the usual bootstrap.

    The last block is cut short, so that the counts add up to `frames`.
    """
    starts = random.integers(0, frames, -(-frames // block))
    lengths = np.full(len(starts), block)
    lengths[-1] = frames - block * (len(starts) - 1)
    change = np.zeros(2 * frames + 1, np.int64)
    np.add.at(change, starts, 1)
    np.add.at(change, starts + lengths, -1)
    covered = np.cumsum(change)
    weights: Ints = covered[:frames] + covered[frames : 2 * frames]
    return weights


def longest_block(frames: int) -> int:
    """Five blocks at least: with Student's t for so few draws an interval holds, however long frames resemble each other
    within the block (Ibragimov & Müller, "t-Statistic Based Correlation and Heterogeneity Robust Inference", Journal of
    Business & Economic Statistics 28, 2010)."""
    return max(1, frames // LEAST_BLOCKS)


def block_length(series: Floats) -> int:
    """The block length that makes the error of a bootstrap variance smallest, 1 to `longest_block`.

    Politis & White, "Automatic block-length selection for the dependent bootstrap", Econometric Reviews 23, 2004, for circular
    blocks, with the correction of Patton, Politis & White, 2009. `series` (n,) or (n, k) is what each frame contributes, in order
    of time; of several columns the covariances are added. Unlike theirs, the search for the last correlation goes beyond √n
    frames, since an object is longer in view than that. Where correlations do not end, the longest is the safest.
    """
    n = len(series)
    columns = series if series.ndim == 2 else series[:, None]
    if n < 2 or not np.ptp(columns, axis=0).any():
        return 1
    covariance = _covariance(columns - columns.mean(axis=0))
    most = max(longest_block(n), min(math.ceil(math.sqrt(n)) + _in_a_row(n), n - 1))
    last = _last_correlated(covariance[: most + 1] / covariance[0], n)
    if last is None:
        return longest_block(n)
    lags = np.arange(-min(2 * last, most), min(2 * last, most) + 1)
    taper = np.clip(2 * (1 - np.abs(lags) / max(2 * last, 1)), 0, 1)
    spectrum = float(np.sum(taper * covariance[np.abs(lags)]))
    slope = float(np.sum(taper * np.abs(lags) * covariance[np.abs(lags)]))
    if spectrum <= 0:
        return longest_block(n)
    best = (1.5 * (slope / spectrum) ** 2 * n) ** (1 / 3)
    return int(np.clip(round(best), 1, longest_block(n)))


def _covariance(centred: Floats) -> Floats:
    """Of every lag from 0 on, added over the columns; by Fourier transform, padded so that the ends do not meet."""
    n = len(centred)
    power = np.abs(np.fft.rfft(centred, 2 * n, axis=0)) ** 2
    covariance: Floats = np.fft.irfft(power.sum(axis=1), 2 * n)[:n] / n
    return covariance


def _in_a_row(n: int) -> int:
    return max(5, math.ceil(math.sqrt(math.log10(n))))


def _last_correlated(correlation: Floats, n: int) -> int | None:
    """The lag after which several correlations in a row are no larger than chance makes them; None when there is none."""
    run, limit = _in_a_row(n), 2 * math.sqrt(math.log10(n) / n)
    small = np.abs(correlation[1:]) < limit
    for lag in range(len(small) - run + 1):
        if small[lag : lag + run].all():
            return lag
    return None
