"""Intervals are compared with those of the theory for means, of which the bootstrap's are known to be near."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pipeline.test_metrics_coco import one_object

from edgewright.pipeline.metrics.image_sums import SummedScores, sums_of
from edgewright.pipeline.metrics.matched_scores import MatchedScores
from edgewright.pipeline.metrics.matches import match_boxes
from edgewright.pipeline.statistics import (
    Difference,
    PairedSamples,
    judge,
    paired_bootstrap,
    too_few,
)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Means:
    """The mean of every column of a table (images, names), over the images where it is known."""

    table: Floats

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"m{k}" for k in range(self.table.shape[1]))

    @property
    def images(self) -> int:
        return len(self.table)

    def values(self, weights: npt.NDArray[np.int64]) -> Floats:
        known = ~np.isnan(self.table)
        count = weights @ known
        return np.where(count > 0, weights @ np.nan_to_num(self.table) / np.maximum(count, 1), np.nan)

    def support(self) -> npt.NDArray[np.int64]:
        return np.array([np.count_nonzero(~np.isnan(column)) for column in self.table.T])


def samples(differences: Floats, resamples: int = 2000) -> PairedSamples:
    return paired_bootstrap(Means(differences), Means(np.zeros_like(differences)), resamples=resamples)


def difference(low: float, high: float, error: float = 0.01, images: int = 100) -> Difference:
    return Difference((low + high) / 2, (low, high), error, 1.96, images)


# The quantiles are those of Student's table, such as NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2.
@pytest.mark.parametrize(("images", "quantile"), [(10, 2.262), (31, 2.042), (101, 1.984)])
def test_the_interval_of_a_mean_is_that_of_student(images: int, quantile: float) -> None:
    """Hesterberg (2015), 5.3: the expanded percentile interval is Student's where the mean is normal."""
    values = np.random.default_rng(images).normal(0.1, 1, (images, 1))
    low, high = samples(values, 5000).difference("m0", 0.95).interval
    reach = quantile * values.std(ddof=1) / math.sqrt(images)
    assert (low, high) == pytest.approx((values.mean() - reach, values.mean() + reach), abs=0.15 * reach)


def test_the_interval_holds_as_often_as_it_says() -> None:
    """Skewed values of 40 images, of which a true mean of 1 must lie within at least 9 of 10 intervals of 95 %."""
    random = np.random.default_rng(3)
    held = 0
    for _ in range(150):
        low, high = samples(random.exponential(1, (40, 1)), 150).difference("m0", 0.95).interval
        held += low <= 1 <= high
    assert held >= 135


def test_pairing_leaves_nothing_where_both_sides_are_alike() -> None:
    scores = Means(np.random.default_rng(0).normal(size=(50, 3)))
    same = paired_bootstrap(scores, scores, resamples=50).difference("m1", 0.95)
    assert (same.value, same.interval, same.standard_error) == (0.0, (0.0, 0.0), 0.0)
    assert judge(same, 0.0).outcome == "pass"


def test_the_same_seed_gives_the_same_samples_and_another_seed_others() -> None:
    scores = Means(np.random.default_rng(0).normal(size=(20, 1)))
    zero = Means(np.zeros((20, 1)))
    first, again, other = (paired_bootstrap(scores, zero, resamples=9, seed=seed).resampled for seed in (4, 4, 5))
    assert (first == again).all()
    assert (first != other).any()


def test_sets_of_different_images_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="3 images of the candidate cannot be paired with 4"):
        paired_bootstrap(Means(np.zeros((3, 1))), Means(np.zeros((4, 1))))


def test_resamples_without_a_value_do_not_count() -> None:
    table = np.full((40, 2), np.nan)
    table[:12, 0] = 1.0
    table[0, 1] = 1.0
    drawn = samples(table, 200)
    assert drawn.difference("m0", 0.95).interval == (1.0, 1.0)
    assert np.isnan(drawn.resampled[:, 1]).any()
    assert not too_few(drawn, "m0")
    assert too_few(drawn, "m1")


def test_nothing_is_said_of_what_no_resample_has() -> None:
    nothing = samples(np.full((5, 2), np.nan), 20)
    assert nothing.difference("m0", 0.95).interval == (-math.inf, math.inf)
    assert nothing.differences(["m0", "m1"], 0.95)["m1"].interval == (-math.inf, math.inf)


def test_intervals_of_many_names_hold_for_all_at_once() -> None:
    """80 means that are truly 0: at 95 % each, nearly every set would have one interval without 0; together few have."""
    random = np.random.default_rng(1)
    wrong = {"each": 0, "together": 0}
    for _ in range(40):
        drawn = samples(random.normal(size=(100, 80)), 300)
        together = drawn.differences(drawn.names, 0.95)
        each = {name: drawn.difference(name, 0.95) for name in drawn.names}
        for kind, found in (("each", each), ("together", together)):
            wrong[kind] += any(one.interval[0] > 0 or one.interval[1] < 0 for one in found.values())
    assert wrong["each"] > 30
    assert wrong["together"] <= 5


@pytest.mark.parametrize(
    ("low", "high", "margin", "outcome"),
    [
        (-0.004, 0.010, 0.005, "pass"),
        (-0.004, -0.001, 0.005, "pass"),
        (0.002, 0.010, 0.0, "pass"),
        (-0.020, -0.010, 0.005, "fail"),
        (-0.020, -0.001, 0.005, "fail"),
        (-0.020, 0.001, 0.005, "undecided"),
        (-0.001, 0.001, 0.0, "undecided"),
    ],
)
def test_a_release_passes_when_a_drop_beyond_the_margin_is_excluded(
    low: float, high: float, margin: float, outcome: str
) -> None:
    assert judge(difference(low, high), margin).outcome == outcome


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 0.5))
def test_a_measured_improvement_never_fails(value: float, width: float, margin: float) -> None:
    found = Difference(abs(value), (abs(value) - width, abs(value) + width), width / 2, 1.96, 10)
    assert judge(found, margin).outcome != "fail"
    # Resamples may lie to one side of what was measured.
    assert judge(Difference(abs(value), (-width - 0.1, -0.1), width / 2, 1.96, 10), margin).outcome != "fail"


@given(st.floats(0.001, 0.1), st.floats(0, 0.5))
@settings(max_examples=50)
def test_the_smallest_detectable_drop_fails_in_8_of_10_cases(error: float, margin: float) -> None:
    """A normal difference about the true drop, whose interval reaches 1.96 standard errors either way."""
    drop = judge(difference(0, 0, error), margin).smallest_drop
    chances = (np.arange(1000) + 0.5) / 1000
    measured = [NormalDist(-drop, error).inv_cdf(chance) for chance in chances]
    found = [judge(Difference(d, (d - 1.96 * error, d + 1.96 * error), error, 1.96, 100), margin) for d in measured]
    assert sum(one.outcome == "fail" for one in found) == pytest.approx(800, abs=2)


def test_the_images_needed_would_pass_an_equal_release_in_8_of_10_cases() -> None:
    needed = judge(difference(0, 0, error=0.01, images=100), 0.005).images_needed
    assert needed is not None
    error = 0.01 * math.sqrt(100 / needed)
    passes = 1 - NormalDist(0, error).cdf(-0.005 + 1.96 * error)
    assert passes == pytest.approx(0.8, abs=0.001)
    assert judge(difference(0, 0, error=0.01), 0.0).images_needed is None


def test_average_precision_is_resampled_and_left_undefined_without_objects() -> None:
    """One of two images holds the only object, and a candidate that finds nothing loses all of AP wherever it is drawn."""
    truth, results = one_object()
    truth["images"].append({"id": 2})
    found, nothing = (MatchedScores(match_boxes(truth, some), names={"AP"}) for some in (results, []))
    drawn = paired_bootstrap(nothing, found, resamples=40)
    assert drawn.measured == pytest.approx([-1.0])
    assert set(drawn.resampled[~np.isnan(drawn.resampled)]) == {-1.0}
    # Drawing two of two images misses the one with the object in a quarter of all cases.
    assert 1 <= np.isnan(drawn.resampled).sum() <= 20
    assert too_few(drawn, "AP")


def test_confusion_matrices_and_panoptic_counts_are_resampled_alike() -> None:
    """mIoU and PQ by their definitions (Everingham et al. 2010; Kirillov et al. 2019) on images written out twice."""
    random = np.random.default_rng(0)
    confusion = random.integers(1, 50, (6, 3, 3))

    def miou(total: Floats) -> dict[str, float]:
        hits = np.diag(total)
        return {"mIoU": float((hits / (total.sum(axis=0) + total.sum(axis=1) - hits)).mean())}

    segments = np.column_stack([random.random((6, 1)) * 5, random.integers(5, 9, (6, 3))])

    def quality(total: Floats) -> dict[str, float]:
        overlap, matched, extra, missed = total
        return {"PQ": float(overlap / (matched + extra / 2 + missed / 2))}

    weights = np.array([2, 0, 1, 1, 1, 1])
    for counts, score in ((confusion, miou), (segments, quality)):
        scores = SummedScores(sums_of(range(6), list(counts), counts.shape[1:]), score)
        assert scores.values(weights)[0] == pytest.approx(
            next(iter(score(np.repeat(counts, weights, 0).sum(0)).values()))
        )
        assert paired_bootstrap(scores, scores, resamples=5).difference(scores.names[0], 0.95).value == 0.0
