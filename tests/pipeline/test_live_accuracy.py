"""Running numbers: those of a whole data set from frames that were scored one by one, their intervals, and baselines."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from tests.pipeline.test_matches import values
from tests.pipeline.test_metrics_coco import Truth, pycocotools_scores, scenes

from edgewright.pipeline.live import source_watch
from edgewright.pipeline.live.accuracy import Accuracy, Limits
from edgewright.pipeline.live.alarm import Alarm
from edgewright.pipeline.live.baseline import Baseline, Expected
from edgewright.pipeline.live.scoring import contributions
from edgewright.pipeline.live.source_watch import SourceWatch
from edgewright.pipeline.metrics.coco import CocoResult
from edgewright.pipeline.metrics.image_sums import sums_of
from edgewright.pipeline.metrics.joined import joined_matches, joined_sums
from edgewright.pipeline.metrics.matched_scores import MatchedScores
from edgewright.pipeline.metrics.matches import match_boxes
from edgewright.runtime.results import Detections, Frame

FRAME = Frame(np.zeros((4, 4, 3), np.uint8), 0, 0.0, "test")


@given(scenes(), st.sampled_from([1, 10, 100]), st.randoms())
def test_frames_that_were_matched_one_by_one_score_as_pycocotools_scores_all(
    scene: tuple[Truth, list[CocoResult]], limit: int, random: Any
) -> None:
    truth, results = scene
    images = list(truth["images"])
    random.shuffle(images)
    parts = [
        match_boxes(
            {
                "images": [image],
                "annotations": [a for a in truth["annotations"] if a["image_id"] == image["id"]],
                "categories": truth["categories"],
            },
            [result for result in results if result["image_id"] == image["id"]],
            max_detections=limit,
        )
        for image in images
    ]
    got = values(MatchedScores(joined_matches(parts)))
    assert got == pytest.approx(pycocotools_scores(*scene, limit), abs=1e-9)


@given(st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=1, max_size=5))
def test_tables_of_single_images_are_those_of_all_together(tables: list[list[int]]) -> None:
    arrays = [np.array(table).reshape(2, 3) for table in tables]
    ids = list(range(len(arrays)))
    whole = sums_of(ids, arrays, (2, 3))
    joined = joined_sums([sums_of([number], [table], (2, 3)) for number, table in enumerate(arrays)])
    weights = np.arange(len(arrays)) + 1
    assert joined.total(weights).tolist() == whole.total(weights).tolist()
    assert joined.image_ids.tolist() == ids


def test_contributions_are_what_the_mean_of_ratios_loses_without_a_frame() -> None:
    """To first order; the outside source is leaving each frame out."""
    random = np.random.default_rng(1)
    whole = random.integers(5, 30, (200, 3)).astype(float)
    part = random.binomial(whole.astype(int), 0.6).astype(float)

    def score(keep: np.ndarray) -> float:
        return float((part[keep].sum(axis=0) / whole[keep].sum(axis=0)).mean())

    everything = np.arange(200)
    left_out = [score(everything) - score(np.delete(everything, n)) for n in range(200)]
    assert contributions(part, whole) / 3 == pytest.approx(left_out, abs=2e-5)


class Shares:
    """A stand-in: every frame is 0 or 1, and the score is their mean."""

    names: tuple[str, ...] = ("share",)
    compared: tuple[str, ...] = ("share",)

    def __init__(self, outcomes: Sequence[float]) -> None:
        self._outcomes = iter(outcomes)

    def score(self, frame: Frame, result: Any) -> float:
        return next(self._outcomes)

    def scores(self, frames: Sequence[float]) -> "Mean":
        return Mean(frames)

    def series(self, frames: Sequence[float]) -> Any:
        return np.array(frames) - np.mean(frames)

    def labelled(self, frames: Sequence[float]) -> Any:
        return np.ones((len(frames), 1))


class Mean:
    names = ("share",)

    def __init__(self, frames: Sequence[float]) -> None:
        self._frames, self.images = np.array(frames), len(frames)

    def values(self, weights: Any) -> Any:
        return np.array([weights @ self._frames / weights.sum()])

    def support(self) -> Any:
        return np.array([self.images])


def watched(outcomes: Sequence[float], **options: Any) -> Accuracy:
    accuracy = Accuracy(Shares(outcomes), **options)
    for _ in outcomes:
        accuracy.add(FRAME, Detections.empty())
    return accuracy


def test_memory_is_bounded_and_the_start_is_sampled_evenly() -> None:
    accuracy = watched([float(n) for n in range(20_000)], window=100, most=500)
    assert list(accuracy.window) == list(range(19_900, 20_000))
    assert len(accuracy.kept) == 500
    assert accuracy.kept == sorted(accuracy.kept)
    # The mean of 500 even draws from 0 .. 19999 has a standard error of 258.
    assert np.mean(accuracy.kept) == pytest.approx(9999.5, abs=4 * 258)


def persistent(frames: int, share: float, stay: float, seed: int) -> list[float]:
    """Outcomes that stay as they are with a probability, as those of an object that is in view for many frames."""
    random = np.random.default_rng(seed)
    fresh = (random.random(frames) < share).astype(float)
    for n in range(1, frames):
        if random.random() < stay:
            fresh[n] = fresh[n - 1]
    return [float(value) for value in fresh]


def test_intervals_of_frames_that_resemble_their_neighbours_hold_the_truth() -> None:
    """As 95 % intervals of so few blocks do; those of single frames would hold it 54 times in 100, since the standard error is
    √((1 + 0.75) / (1 - 0.75)) = 2.6 times as large as theirs."""
    limits = Limits(resamples=200)
    held = []
    for seed in range(80):
        accuracy = watched(persistent(500, 0.5, 0.75, seed), limits=limits)
        low, high = accuracy.estimates(list(accuracy.window))["share"].interval or (0.0, 0.0)
        held.append(low <= 0.5 <= high)
    assert np.mean(held) >= 0.8


def test_a_drop_is_judged_as_a_gate_would_and_an_alarm_wants_to_be_sure() -> None:
    baseline = Baseline("test", {"share": Expected(0.8, 0.0)})
    random = np.random.default_rng(0)

    def outcome(share: float, frames: int, margin: float) -> tuple[str, bool]:
        outcomes = (random.random(frames) < share).astype(float).tolist()
        accuracy = watched(outcomes, window=frames, baseline=baseline, limits=Limits(margin))
        found = accuracy.estimates(outcomes)["share"]
        assert found.judgement is not None
        return found.judgement.outcome, found.surely_below(margin)

    assert outcome(0.8, 5000, 0.05) == ("pass", False)
    assert outcome(0.5, 500, 0.05) == ("fail", True)
    assert outcome(0.8, 60, 0.01) == ("undecided", False)
    # A drop of about the margin fails the gate, which must exclude it, and raises no alarm.
    assert outcome(0.75, 2000, 0.05) == ("fail", False)


def test_an_uncertain_baseline_widens_the_interval_of_the_change() -> None:
    outcomes = persistent(500, 0.5, 0.0, 1)
    widths = []
    for error in (0.0, 0.1):
        accuracy = watched(outcomes, baseline=Baseline("test", {"share": Expected(0.5, error)}))
        low, high = accuracy.estimates(outcomes)["share"].change_interval or (0.0, 0.0)
        widths.append(high - low)
    assert widths[1] == pytest.approx(np.hypot(widths[0], 2 * 1.96 * 0.1), rel=0.25)


class Squares(Shares):
    """The score is the square of the mean, which is too high for few frames."""

    def scores(self, frames: Sequence[float]) -> "Mean":
        return SquareOfMean(frames)


class SquareOfMean(Mean):
    def values(self, weights: Any) -> Any:
        return super().values(weights) ** 2


def test_intervals_of_pictures_lie_around_the_value_less_its_bias() -> None:
    """The square of a mean of n is too high by the variance / n on average."""
    outcomes = np.random.default_rng(4).normal(0.5, 0.3, 30)
    accuracy = Accuracy(Squares(list(outcomes)), limits=Limits(resamples=10_000))
    found = accuracy.estimates(list(outcomes))["share"]
    assert found.block == 1
    assert found.value is not None
    assert found.interval is not None
    # The error of 10000 resamples is 0.0005.
    assert sum(found.interval) / 2 == pytest.approx(found.value - outcomes.var() / 30, abs=0.0015)
    assert outcomes.var() / 30 > 0.0025


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_frames_that_are_all_alike_leave_room_for_what_they_have_not_shown(outcome: float) -> None:
    """As the exact interval of a proportion does, by SciPy; a bootstrap alone would be sure."""
    accuracy = watched([outcome] * 30, baseline=Baseline("test", {"share": Expected(1 - outcome, 0.0)}))
    found = accuracy.estimates(list(accuracy.window))["share"]
    exact = binomtest(int(30 * outcome), 30).proportion_ci(method="exact")
    assert found.interval == pytest.approx((exact.low, exact.high))
    assert found.change_interval is not None
    assert found.change_interval[1] - found.change_interval[0] == pytest.approx(exact.high - exact.low)


def test_a_window_as_long_as_the_sample_since_the_start_is_not_taken_for_it() -> None:
    accuracy = Accuracy(Shares([0.0] * 30 + [1.0] * 20), window=20, most=20)
    with SourceWatch(accuracy, None) as watch:
        for _ in range(50):
            watch(FRAME, Detections.empty())
        watch.close()
        known = watch.status()["live_accuracy"]
    assert known["window"]["share"]["value"] == 1.0
    # 20 even draws of 30 zeros and 20 ones: the chance of none but ones is 20! 30! / 50!, about 2e-14.
    assert known["since_start"]["share"]["value"] < 1.0


def test_the_end_of_a_run_is_no_second_look_at_the_same_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_watch, "_EVERY_S", 1e6)
    baseline = Baseline("test", {"share": Expected(0.9, 0.0)})
    raised = []
    for more in (5, 15):
        accuracy = Accuracy(Shares([0.0] * (40 + more)), window=40, baseline=baseline)
        with SourceWatch(accuracy, None) as watch:
            for _ in range(40):
                watch(FRAME, Detections.empty())
            watch._score(accuracy, iter, since_start=False)
            for _ in range(more):
                watch(FRAME, Detections.empty())
            watch.close()
            raised.append(watch.raised)
    # A quarter of the window is 10 frames.
    assert raised == [0, 1]


def test_few_frames_have_a_value_but_no_interval() -> None:
    accuracy = watched([1.0] * 5, baseline=Baseline("test", {"share": Expected(0.9, 0.0)}))
    found = accuracy.estimates(list(accuracy.window))["share"]
    assert (found.value, found.interval, found.judgement) == (1.0, None, None)
    assert not found.surely_below(0.0)
    assert accuracy.estimates([]) == {}


@given(st.lists(st.sampled_from(["beyond", "within", "between"]), max_size=60))
def test_an_alarm_is_raised_and_cleared_in_turn_and_only_after_two_looks_in_a_row(looks: list[str]) -> None:
    alarm, last, seen = Alarm(), False, list[str]()
    for look in looks:
        seen.append(look)
        if alarm.look(beyond=look == "beyond", within=look == "within"):
            assert alarm.on != last
            assert seen[-2:] == (["beyond", "beyond"] if alarm.on else ["within", "within"])
            last = alarm.on
        else:
            assert alarm.on == last
