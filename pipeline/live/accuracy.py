"""The running accuracy of a run: of the last frames and since its start, each with an interval and held against a baseline."""

import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.live.baseline import Baseline, Expected, finite_or_none
from edgewright.pipeline.live.blocks import LEAST_BLOCKS, block_length, block_weights, longest_block
from edgewright.pipeline.live.scoring import Scorer
from edgewright.pipeline.statistics import LEAST_IMAGES, Difference, Judgement, judge, student
from edgewright.runtime.results import Frame, Result

# Those of COCO val2017. Of a longer run an even sample of so many frames is kept: 2 to 25 MB.
MOST_FRAMES = 5000
Track = Callable[[Iterable[int]], Iterable[int]]


@dataclass(frozen=True)
class Limits:
    """When a drop matters: more than `margin` below the baseline, of which the interval is sure to `confidence`."""

    margin: float = 0.02
    confidence: float = 0.95
    resamples: int = 200


@dataclass(frozen=True)
class Estimate:
    """One metric on some frames. `block` is how many neighbouring frames count as one draw of the interval.

    `interval` is None where too few frames show anything. `judgement` and `change` (with its `change_interval`) are there with a
    baseline.
    """

    name: str
    value: float | None
    interval: tuple[float, float] | None
    frames: int
    block: int
    baseline: float | None = None
    change: float | None = None
    change_interval: tuple[float, float] | None = None
    judgement: Judgement | None = None

    def surely_below(self, margin: float) -> bool:
        """Whether the whole interval of the change lies below what may be lost.

        A gate asks once whether a drop is excluded; who asks every few seconds for months raises an alarm only for what is sure.
        """
        return self.change_interval is not None and self.change_interval[1] < -margin

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "value": self.value,
            "interval": None if self.interval is None else list(self.interval),
            "frames": self.frames,
            "block": self.block,
            "baseline": self.baseline,
            "change": self.change,
            "change_interval": None if self.change_interval is None else list(self.change_interval),
            "outcome": None if self.judgement is None else self.judgement.outcome,
        }


class Accuracy:
    """Scores frames as they come, in memory that does not grow: the last `window` of them, and up to 5000 since the start.

    Of a longer run, what is kept since the start is a sample in which every frame is equally likely.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        window: int = 500,
        baseline: Baseline | None = None,
        limits: Limits = Limits(),
        most: int = MOST_FRAMES,
    ) -> None:
        self.scorer = scorer
        self.baseline = baseline
        self.limits = limits
        self.frames = 0
        self.window: deque[Any] = deque(maxlen=window)
        self._kept: list[tuple[int, Any]] = []
        self._most = most
        self._random = random.Random(0)

    def add(self, frame: Frame, result: Result) -> None:
        """Score one frame."""
        scored = self.scorer.score(frame, result)
        self.window.append(scored)
        # Vitter, "Random sampling with a reservoir", ACM Trans. Math. Software 11, 1985, algorithm R.
        if len(self._kept) < self._most:
            self._kept.append((self.frames, scored))
        elif (place := self._random.randrange(self.frames + 1)) < self._most:
            self._kept[place] = (self.frames, scored)
        self.frames += 1

    @property
    def kept(self) -> list[Any]:
        """The frames since the start, or the sample of them, in order of time."""
        return [scored for _, scored in sorted(self._kept, key=lambda pair: pair[0])]

    def estimates(self, frames: Sequence[Any], *, track: Track = iter) -> dict[str, Estimate]:
        """Every name on these frames; nothing without frames. `track` may slow the resampling down."""
        if not frames:
            return {}
        scores = self.scorer.scores(frames)
        # Chance hides from a network's hits and misses that the same objects are in view; the labels show it.
        block = max(block_length(self.scorer.series(frames)), block_length(self.scorer.labelled(frames)))
        measured, support = scores.values(np.ones(len(frames), np.int64)), -(-scores.support() // block)
        resampled = np.full((1, len(scores.names)), np.nan)
        if support.max() >= _least(block):
            resampled = self._resampled(scores, len(frames), block, track)
        return {
            name: self._estimate(name, float(measured[k]), _Draws(resampled[:, k], int(support[k]), block), len(frames))
            for k, name in enumerate(scores.names)
        }

    def _resampled(self, scores: Any, frames: int, block: int, track: Track) -> npt.NDArray[np.float64]:
        generator = np.random.default_rng(0)
        weights = (block_weights(generator, frames, block) for _ in track(range(self.limits.resamples)))
        return np.array([scores.values(some) for some in weights])

    def _estimate(self, name: str, value: float, draws: "_Draws", frames: int) -> Estimate:
        known = np.isfinite(value) and draws.support >= _least(draws.block)
        found = Estimate(name, finite_or_none(value), None, frames, draws.block)
        confidence = self.limits.confidence
        unseen = _unseen(draws.support * draws.block, confidence) if known else 1.0
        least = value * unseen, (1 - value) * unseen
        if known:
            low, high = draws.difference(value, confidence, least=least).interval
            found = replace(found, interval=(max(0.0, low), min(1.0, high)))
        expected = self.baseline.expected.get(name) if self.baseline and name in self.scorer.compared else None
        if expected is None:
            return found
        found = replace(found, baseline=expected.value, change=finite_or_none(value - expected.value))
        if not known:
            return found
        change = draws.minus(expected).difference(value - expected.value, confidence, least=least)
        if not np.isfinite(change.interval).all():
            return found
        return replace(found, change_interval=change.interval, judgement=judge(change, self.limits.margin))

    def is_short(self, estimate: Estimate) -> bool:
        """Whether neighbouring frames resemble each other for longer than the blocks of so few frames may be."""
        return estimate.block > 1 and estimate.block >= longest_block(estimate.frames)


def _unseen(frames: int, confidence: float) -> float:
    """The share of all frames that so many may by chance not have shown (Clopper & Pearson, Biometrika 26, 1934).

    Frames that are all wrong, or all right, have resamples without any spread, and yet the next may be otherwise.
    """
    return float(1 - ((1 - confidence) / 2) ** (1 / frames))


def _least(block: int) -> int:
    """How many draws an interval needs."""
    return LEAST_IMAGES if block == 1 else LEAST_BLOCKS


@dataclass(frozen=True, eq=False)
class _Draws:
    """The values of one metric in all resamples; `support` is how many independent draws of `block` frames there are."""

    values: npt.NDArray[np.float64]
    support: int
    block: int

    def difference(self, measured: float, confidence: float, *, least: tuple[float, float]) -> Difference:
        """With an interval of as many standard errors to both sides as Student's t says of so few draws, and `least` below and
        above.

        Of single pictures its middle is corrected for the bias of the bootstrap (Efron & Tibshirani, "An Introduction to the Bootstrap",
        1993, ch. 10): precision is taken as the best at every recall or beyond, so that AP of few comes out too high, and percentiles
        would go the wrong way. Of the many frames of blocks the bias is small, and not worth the noise of its estimate.
        """
        error, critical = float(np.nanstd(self.values)), student(confidence, self.support)
        middle = measured if self.block > 1 else 2 * measured - float(np.nanmean(self.values))
        below, above = least
        interval = min(middle - critical * error, measured - below), max(middle + critical * error, measured + above)
        return Difference(measured, interval, error, critical, self.support)

    def minus(self, expected: Expected) -> "_Draws":
        """Less the baseline as it might have come out on other pictures, since it was not measured on those of the run."""
        normal = np.random.default_rng(1).standard_normal(len(self.values))
        uncertain = expected.standard_error * (normal - normal.mean())
        return replace(self, values=self.values - expected.value - expected.bias - uncertain)
