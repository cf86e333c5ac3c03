"""What a difference measured on some images says of all such images: paired bootstrap and test of non-inferiority."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Outcome = Literal["pass", "fail", "undecided"]

# The usual power of a planned trial; a drop is called detectable when it is found this often.
POWER = 0.8
# Fewer images do not show how much others like them would differ.
LEAST_IMAGES = 10
# A margin this many times finer than the images show is out of reach: nobody labels a million times as many.
_MOST_TIMES = 1000


class Resampleable(Protocol):
    """Measurements, better when higher, as a function of how often every image occurs."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def images(self) -> int: ...

    def values(self, weights: Ints) -> Floats:
        """The value of every name when image i occurs `weights[i]` times; NaN where it is undefined."""
        ...

    def support(self) -> Ints:
        """For every name the number of images that have something to do with it."""
        ...


@dataclass(frozen=True)
class Difference:
    """Candidate minus baseline; `critical` is how many standard errors from it the interval ends, about.

    `images` of the kind `sampled`, which may be "videos", have shown it.
    """

    value: float
    interval: tuple[float, float]
    standard_error: float
    critical: float
    images: int
    sampled: str = "images"


@dataclass(frozen=True)
class Judgement:
    """What a difference says under a margin.

    `smallest_drop` is the true drop that such images would show in 8 of 10 cases. `images_needed` of their kind would show in
    8 of 10 cases that a candidate as good as the baseline is within the margin; None when no number would.
    """

    outcome: Outcome
    smallest_drop: float
    images_needed: int | None


@dataclass(frozen=True, eq=False)
class PairedSamples:
    """Differences of resamples (B, names) beside those of all images (names,); `support` (names,) in images."""

    names: tuple[str, ...]
    measured: Floats
    resampled: Floats
    support: Ints
    images: int
    sampled: str = "images"

    def difference(self, name: str, confidence: float) -> Difference:
        """The difference with its percentile interval (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 13).

        The percentiles are taken as much further out as Student's t lies beyond the normal (Hesterberg, "What Teachers Should
        Know About the Bootstrap", The American Statistician 69, 2015, 5.3), since a bootstrap of few images is too narrow.
        BCa would need every image left out once, five times the work for 5000 images; the skewness that it corrects nearly
        cancels in a difference of two networks on the same images.
        """
        k = self.names.index(name)
        error = _spread(self.resampled[:, k])
        if math.isinf(error):
            return self._wide(k)
        critical = student(confidence, int(self.support[k]))
        tail = NormalDist().cdf(-critical)
        low, high = np.nanquantile(self.resampled[:, k], (tail, 1 - tail))
        return Difference(
            float(self.measured[k]), (float(low), float(high)), error, critical, self.images, self.sampled
        )

    def differences(self, names: Sequence[str], confidence: float) -> dict[str, Difference]:
        """The differences with intervals that hold for all the names at once, as far as `confidence` says.

        They are as wide as the largest deviation among the names in the resamples, in standard errors (Westfall & Young,
        "Resampling-Based Multiple Testing", 1993, ch. 2): of 80 classes, 2 would else fail by chance.
        """
        if len(names) < 2:
            return {name: self.difference(name, confidence) for name in names}
        chosen = [self.names.index(name) for name in names]
        deviation = np.abs(self.resampled[:, chosen] - self.measured[chosen])
        error = np.array([_spread(self.resampled[:, k]) for k in chosen])
        # A name whose resamples are all alike, or have no value, says nothing about how far the others may deviate.
        known = np.isfinite(deviation) & (error > 0)
        largest = np.divide(deviation, error, out=np.zeros_like(deviation), where=known).max(axis=1)
        usual = NormalDist().inv_cdf((1 + confidence) / 2)
        widest = max(float(np.quantile(largest, confidence)), usual)
        return {
            name: self._symmetric(k, float(error[n]), widest * student(confidence, int(self.support[k])) / usual)
            for n, (name, k) in enumerate(zip(names, chosen, strict=True))
        }

    def _symmetric(self, k: int, error: float, critical: float) -> Difference:
        if math.isinf(error):
            return self._wide(k)
        value = float(self.measured[k])
        return Difference(
            value, (value - critical * error, value + critical * error), error, critical, self.images, self.sampled
        )

    def _wide(self, k: int) -> Difference:
        """Nothing is known: no resample has a value."""
        return Difference(float(self.measured[k]), (-math.inf, math.inf), math.inf, 1.0, self.images, self.sampled)


def paired_bootstrap(
    candidate: Resampleable,
    baseline: Resampleable,
    *,
    resamples: int = 1000,
    seed: int = 0,
    sampled: str = "images",
    track: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> PairedSamples:
    """The differences of the names that both have, on `resamples` random choices of the images, the same for both.

    ValueError when they are not of the same number of images. The same seed gives the same samples.
    """
    if candidate.images != baseline.images:
        raise ValueError(f"{candidate.images} images of the candidate cannot be paired with {baseline.images}")
    names = tuple(name for name in candidate.names if name in set(baseline.names))
    ours, theirs = ([side.names.index(name) for name in names] for side in (candidate, baseline))
    random, images = np.random.default_rng(seed), candidate.images

    def difference(weights: Ints) -> Floats:
        return candidate.values(weights)[ours] - baseline.values(weights)[theirs]

    evenly = np.full(images, 1 / images)
    resampled = [difference(random.multinomial(images, evenly)) for _ in track(range(resamples))]
    return PairedSamples(
        names=names,
        measured=difference(np.ones(images, np.int64)),
        resampled=np.array(resampled).reshape(resamples, len(names)),
        support=np.minimum(candidate.support()[ours], baseline.support()[theirs]),
        images=images,
        sampled=sampled,
    )


def _spread(resampled: Floats) -> float:
    """The standard deviation of the values that there are, infinite when there are none."""
    known = resampled[~np.isnan(resampled)]
    return float(np.std(known)) if len(known) else math.inf


def judge(difference: Difference, margin: float) -> Judgement:
    """Whether a drop beyond `margin` (not negative) is excluded: pass.

    If it is not, the release fails when there surely is a drop at all, and it is undecided when there may be none. What was
    measured as an improvement never fails.
    """
    low, high = difference.interval
    # Sums and products of decimal fractions are off in the last bits.
    excluded = low >= -margin - 1e-9
    outcome: Outcome = "pass" if excluded else "fail" if max(high, difference.value) < 0 else "undecided"
    return Judgement(outcome, _smallest_drop(difference, margin), _images_needed(difference, margin))


def _smallest_drop(difference: Difference, margin: float) -> float:
    """A drop fails once it is measured as the larger of what shows that there is one and what the margin cannot excuse."""
    error = difference.standard_error
    to_fail = max(difference.critical * error, margin - difference.critical * error)
    return to_fail + NormalDist().inv_cdf(POWER) * error


def _images_needed(difference: Difference, margin: float) -> int | None:
    """By the standard error's fall with the square root of the number of images."""
    beyond = (difference.critical + NormalDist().inv_cdf(POWER)) * difference.standard_error
    if beyond > margin * _MOST_TIMES:
        return None
    return math.ceil(difference.images * (beyond / margin) ** 2) if margin else difference.images


def student(confidence: float, images: int) -> float:
    """The standard errors that a two-sided interval from so many images extends, by Student's t.

    The series is Abramowitz & Stegun, "Handbook of Mathematical Functions", 26.7.5; the factor n / (n - 1) makes up for a
    bootstrap's standard error, which divides by n.
    """
    z, freedom = NormalDist().inv_cdf((1 + confidence) / 2), max(images - 1, 1)
    t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    return t * math.sqrt((freedom + 1) / freedom)


def too_few(samples: PairedSamples, name: str) -> bool:
    """Whether too few images have to do with `name` for the resamples to mean anything."""
    return name not in samples.names or samples.support[samples.names.index(name)] < LEAST_IMAGES
