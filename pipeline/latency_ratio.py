"""How much slower one network is than another, and how sure that is, from latencies that were measured in turn."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Enough for a standard error within a few percent; the interval needs no percentiles of them.
_RESAMPLES = 400
LEAST_LAUNCHES = 2


@dataclass(frozen=True, eq=False)
class Launch:
    """Durations (rounds, runs) of three fresh processes that ran in turn; `control` is the baseline once more."""

    candidate: Floats
    baseline: Floats
    control: Floats

    @property
    def sides(self) -> tuple[Floats, Floats, Floats]:
        return self.candidate, self.baseline, self.control


@dataclass(frozen=True)
class Ratio:
    """Candidate over baseline with its interval; `noise` is the largest ratio, less 1, that the baseline has to itself."""

    candidate: float
    baseline: float
    ratio: float
    interval: tuple[float, float]
    noise: float


def latency_ratio(launches: Sequence[Launch], percentile: float, *, confidence: float = 0.95, seed: int = 0) -> Ratio:
    """The ratio of a percentile (50: the median) of the durations; ValueError for fewer than two launches.

    All is done with logarithms. Two processes of one network differ by chance, in where their memory lies (Mytkowicz et al.,
    "Producing Wrong Data Without Doing Anything Obviously Wrong!", 2009), so launches are what is repeated (Kalibera & Jones,
    "Rigorous Benchmarking in Reasonable Time", 2013). A launch gives x = candidate - (baseline + control) / 2 and
    d = control - baseline. If all processes vary alike, 3/4 of the variance of d is that of x, so the spread of the x and the
    size of the d, which are around 0, estimate it together with 2L - 1 degrees of freedom for Student's t. It is never taken
    smaller than what the rounds show: they are resampled, the same of all three sides, for neighbouring runs are alike
    (block bootstrap; Künsch, "The Jackknife and the Bootstrap for General Stationary Observations", 1989).
    """
    count = len(launches)
    if count < LEAST_LAUNCHES:
        raise ValueError(f"{count} launches do not show how launches differ")
    values = np.log([[np.percentile(side, percentile) for side in launch.sides] for launch in launches])
    x, d = _contrasts(values)
    rounds_x, rounds_d = _variances_of_rounds(launches, percentile, np.random.default_rng(seed))
    spread_x = (((x - x.mean()) ** 2).sum() + 0.75 * (d**2).sum()) / (2 * count - 1)
    beyond = _student(confidence, 2 * count - 1) * math.sqrt(max(float(spread_x), rounds_x) / count)
    beyond_control = _student(confidence, count) * math.sqrt(max(float((d**2).mean()), rounds_d) / count)
    centre = float(x.mean())
    candidate, baseline, control = np.exp(values.mean(axis=0))
    return Ratio(
        candidate=float(candidate),
        baseline=float(math.sqrt(baseline * control)),
        ratio=math.exp(centre),
        interval=(math.exp(centre - beyond), math.exp(centre + beyond)),
        noise=math.exp(abs(float(d.mean())) + beyond_control) - 1,
    )


def _contrasts(values: Floats) -> tuple[Floats, Floats]:
    """x and d of logarithms whose last axis is candidate, baseline, control."""
    candidate, baseline, control = np.moveaxis(values, -1, 0)
    return candidate - (baseline + control) / 2, control - baseline


def _variances_of_rounds(
    launches: Sequence[Launch], percentile: float, random: np.random.Generator
) -> tuple[float, float]:
    """The variances of x and of d that the choice of rounds alone makes, means over the launches."""
    variances = []
    for launch in launches:
        rounds = len(launch.candidate)
        chosen = random.integers(rounds, size=(_RESAMPLES, rounds))
        resampled = [np.percentile(side[chosen].reshape(_RESAMPLES, -1), percentile, axis=1) for side in launch.sides]
        variances.append([contrast.var(ddof=1) for contrast in _contrasts(np.log(np.stack(resampled, axis=-1)))])
    of_x, of_d = np.mean(variances, axis=0)
    return float(of_x), float(of_d)


def _student(confidence: float, freedom: int) -> float:
    """The two-sided quantile of Student's t (Abramowitz & Stegun, "Handbook of Mathematical Functions", 26.7.5)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return float(z + sum(term / freedom**power for power, term in enumerate(terms, start=1)))
