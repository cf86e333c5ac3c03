"""Every variant of suppression against a slow one that reads like its paper, box by box."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.runtime.errors import UsageError
from edgewright.runtime.nms import adaptive, diou, hard, matrix, soft, suppressor, weighted

F = np.float32
Box = npt.NDArray[np.float32]
Candidates = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]
# Whether the worse of two boxes goes.
Rule = Callable[[Box, Box], bool]


def area(box: Box) -> np.float32:
    return F(F(box[2] - box[0]) * F(box[3] - box[1]))


def iou(a: Box, b: Box) -> np.float32:
    width = max(F(min(a[2], b[2]) - max(a[0], b[0])), F(0))
    height = max(F(min(a[3], b[3]) - max(a[1], b[1])), F(0))
    shared = F(width * height)
    union = F(F(area(a) + area(b)) - shared)
    return F(shared / union) if union > 0 else F(0)


def best_first(scores: npt.NDArray[np.float32]) -> list[int]:
    return sorted(range(len(scores)), key=lambda i: (-float(scores[i]), i))


def slow_greedy(candidates: Candidates, rule: Rule) -> list[int]:
    boxes, scores, labels = candidates
    kept: list[int] = []
    for i in best_first(scores):
        if not any(labels[k] == labels[i] and rule(boxes[k], boxes[i]) for k in kept):
            kept.append(i)
    return kept


def slow_soft(candidates: Candidates, decay: Callable[[np.float32], Any], least: float) -> list[tuple[int, float]]:
    """Bodla et al., figure 3: the best of the class is taken, the others are lowered."""
    boxes, scores, labels = candidates
    taken: list[tuple[int, float]] = []
    for label in np.unique(labels):
        left = {i: F(scores[i]) for i in best_first(scores) if labels[i] == label}
        while left:
            best = max(left, key=lambda i: float(left[i]))  # the first of equals
            top = left.pop(best)
            if top < F(least):
                break
            taken.append((best, float(top)))
            left = {i: F(score * F(decay(iou(boxes[best], boxes[i])))) for i, score in left.items()}
    return sorted(taken, key=lambda one: (-one[1], -float(scores[one[0]]), one[0]))


def slow_matrix(candidates: Candidates, weight: Callable[[float], float]) -> list[float]:
    """Wang et al., equation 5, box by box."""
    boxes, scores, labels = candidates
    order, lowered = best_first(scores), [float(score) for score in scores]

    def better(j: int) -> list[int]:
        return [i for i in order[: order.index(j)] if labels[i] == labels[j]]

    for j in order:
        ratios = [1.0]
        for i in better(j):
            most = max((float(iou(boxes[k], boxes[i])) for k in better(i)), default=0.0)
            if weight(most) > 0:
                ratios.append(weight(float(iou(boxes[i], boxes[j]))) / weight(most))
        lowered[j] *= min(ratios)
    return lowered


def slow_weighted(candidates: Candidates, threshold: float) -> dict[int, list[float]]:
    """BlazeFace: take the best, average it with all that overlap it, remove them, repeat."""
    boxes, scores, labels = candidates
    left, means = best_first(scores), {}
    while left:
        best = left[0]
        gone = [i for i in left if i == best or (labels[i] == labels[best] and iou(boxes[best], boxes[i]) > threshold)]
        left = [i for i in left if i not in gone]
        total = math.fsum(float(scores[i]) for i in gone)
        means[best] = [
            math.fsum(float(scores[i]) * float(boxes[i][edge]) for i in gone) / total
            if total
            else float(boxes[best][edge])
            for edge in range(4)
        ]
    return means


def distance_above(threshold: float) -> Rule:
    def rule(a: Box, b: Box) -> bool:
        x, y = F(F(a[0] + a[2]) - F(b[0] + b[2])), F(F(a[1] + a[3]) - F(b[1] + b[3]))
        width, height = F(max(a[2], b[2]) - min(a[0], b[0])), F(max(a[3], b[3]) - min(a[1], b[1]))
        apart, diagonal = F(F(F(x * x) + F(y * y)) / F(4)), F(F(width * width) + F(height * height))
        return bool(diagonal > 0 and F(iou(a, b) - F(apart / diagonal)) > threshold)

    return rule


def above_by_size(threshold: float, swing: float, small: float, large: float) -> Rule:
    def rule(a: Box, b: Box) -> bool:
        side = math.sqrt(max(float(area(b)), 0))
        low, high = min(max(threshold - swing, 0), 1), min(max(threshold + swing, 0), 1)
        between = (
            low if side <= small else high if side >= large else low + (high - low) / (large - small) * (side - small)
        )
        return float(iou(a, b)) > between

    return rule


whole = st.integers(0, 40)
candidate = st.tuples(whole, whole, st.integers(0, 25), st.integers(0, 25), st.integers(0, 8), st.integers(0, 2))
sets = st.lists(candidate, max_size=25)
thresholds = st.sampled_from([0.0, 0.31, 0.5, 0.65, 1.0])


def drawn(values: list[tuple[int, ...]]) -> Candidates:
    """Boxes on whole pixels, so that overlaps are exact and ties are frequent; some have no area."""
    table = np.array(values, np.float64).reshape(-1, 6)
    boxes = np.hstack([table[:, :2], table[:, :2] + table[:, 2:4]]).astype(np.float32)
    return boxes, (table[:, 4] / 8).astype(np.float32), table[:, 5].astype(np.int64)


def crowd(seed: int, count: int, classes: int) -> Candidates:
    rng = np.random.default_rng(seed)
    center, half = rng.uniform(0, 120, (count, 2)), rng.uniform(4, 60, (count, 2))
    boxes = np.hstack([center - half, center + half]).astype(np.float32)
    return boxes, rng.random(count, dtype=np.float32), rng.integers(0, classes, count)


@given(values=sets, threshold=thresholds)
def test_distance_suppression_keeps_what_the_slow_one_keeps(values: list[tuple[int, ...]], threshold: float) -> None:
    found = diou.suppress(*drawn(values), iou_threshold=threshold)
    assert found.indices.tolist() == slow_greedy(drawn(values), distance_above(threshold))


@given(values=sets, threshold=thresholds, swing=st.sampled_from([-0.4, 0.0, 0.15, 0.6]))
def test_adaptive_suppression_keeps_what_the_slow_one_keeps(
    values: list[tuple[int, ...]], threshold: float, swing: float
) -> None:
    found = adaptive.suppress(*drawn(values), iou_threshold=threshold, swing=swing, small=5.0, large=21.0)
    assert found.indices.tolist() == slow_greedy(drawn(values), above_by_size(threshold, swing, 5.0, 21.0))


@given(values=sets, threshold=thresholds)
def test_linear_soft_suppression_gives_what_the_slow_one_gives(values: list[tuple[int, ...]], threshold: float) -> None:
    found = soft.suppress(*drawn(values), iou_threshold=threshold, method="linear")
    expected = slow_soft(drawn(values), lambda x: F(1) - x if float(x) > threshold else F(1), 0.001)
    assert list(zip(found.indices.tolist(), found.scores.tolist(), strict=True)) == expected


@given(values=sets, sigma=st.sampled_from([0.1, 0.5, 2.0]))
def test_gaussian_soft_suppression_gives_what_the_slow_one_gives(values: list[tuple[int, ...]], sigma: float) -> None:
    found = soft.suppress(*drawn(values), iou_threshold=0.5, sigma=sigma)
    rate = F(-1 / sigma)
    # NumPy's exponential of arrays may differ from that of numbers in the last bit, which decides ties: the same for both.
    expected = slow_soft(drawn(values), lambda x: np.exp(np.full((1, 16), x * x * rate, np.float32))[0, 0], 0.001)
    np.testing.assert_allclose(found.scores, [score for _, score in expected], rtol=1e-5)
    near = np.isclose(np.diff(found.scores), 0, atol=1e-6)
    if not near.any():
        assert found.indices.tolist() == [index for index, _ in expected]


@given(values=sets, method=st.sampled_from(["linear", "gaussian"]))
def test_matrix_suppression_lowers_scores_as_the_slow_one_does(values: list[tuple[int, ...]], method: Any) -> None:
    boxes, scores, labels = drawn(values)
    found = matrix.suppress(boxes, scores, labels, iou_threshold=0.5, method=method)
    lowered = np.zeros(len(scores))
    lowered[found.indices] = found.scores
    expected = slow_matrix(
        (boxes, scores, labels), (lambda x: math.exp(-x * x / 0.5)) if method == "gaussian" else (lambda x: 1 - x)
    )
    np.testing.assert_allclose(lowered, np.where(np.array(expected) >= 0.001, expected, 0), rtol=1e-4, atol=1e-6)
    assert (np.diff(found.scores) <= 0).all()


@given(values=sets, threshold=thresholds)
def test_weighted_suppression_gives_the_means_of_the_slow_one(values: list[tuple[int, ...]], threshold: float) -> None:
    found = weighted.suppress(*drawn(values), iou_threshold=threshold)
    expected = slow_weighted(drawn(values), threshold)
    assert found.indices.tolist() == list(expected)
    np.testing.assert_allclose(found.boxes_xyxy, np.array(list(expected.values())).reshape(-1, 4), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(("count", "classes"), [(400, 1), (400, 90), (300, 5)])
def test_large_sets_and_many_classes_agree_with_the_slow_ones_too(count: int, classes: int) -> None:
    candidates = crowd(count + classes, count, classes)
    assert diou.suppress(*candidates, iou_threshold=0.4).indices.tolist() == slow_greedy(
        candidates, distance_above(0.4)
    )
    found = soft.suppress(*candidates, iou_threshold=0.3, method="linear")
    expected = slow_soft(candidates, lambda x: F(1) - x if x > 0.3 else F(1), 0.001)
    assert list(zip(found.indices.tolist(), found.scores.tolist(), strict=True)) == expected
    joined = weighted.suppress(*candidates, iou_threshold=0.4)
    means = slow_weighted(candidates, 0.4)
    assert joined.indices.tolist() == list(means)
    np.testing.assert_allclose(joined.boxes_xyxy, list(means.values()), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("variant", ["soft", "soft?method=linear", "matrix", "diou", "adaptive", "weighted"])
@pytest.mark.parametrize("class_agnostic", [False, True])
def test_a_limit_gives_the_beginning_of_the_full_answer(variant: str, class_agnostic: bool) -> None:
    candidates, suppress = crowd(4, 300, 4), suppressor(variant)
    everything = suppress(*candidates, iou_threshold=0.5, class_agnostic=class_agnostic)
    some = suppress(*candidates, iou_threshold=0.5, class_agnostic=class_agnostic, max_detections=20)
    assert some.indices.tolist() == everything.indices[:20].tolist()
    np.testing.assert_array_equal(some.scores, everything.scores[:20])
    np.testing.assert_array_equal(some.boxes_xyxy, everything.boxes_xyxy[:20])


@pytest.mark.parametrize("variant", ["soft", "soft?method=linear", "matrix", "diou", "adaptive", "weighted"])
def test_classes_have_no_say_when_they_do_not_count(variant: str) -> None:
    boxes, scores, labels = crowd(5, 200, 7)
    suppress = suppressor(variant)
    one = suppress(boxes, scores, np.zeros(200, int), iou_threshold=0.5)
    found = suppress(boxes, scores, labels, iou_threshold=0.5, class_agnostic=True)
    assert found.indices.tolist() == one.indices.tolist()
    np.testing.assert_array_equal(found.scores, one.scores)


def test_scores_of_overlapping_boxes_are_those_of_the_papers_formulas() -> None:
    # IoU 50 / 100; exp(-0.25 / 0.5) = 0.60653, 1 - 0.5 = 0.5.
    boxes, scores, labels = [[0, 0, 10, 10], [0, 0, 10, 5]], [0.9, 0.8], [0, 0]
    for variant in (soft, matrix):
        assert variant.suppress(boxes, scores, labels, iou_threshold=0.4).scores[1] == pytest.approx(
            0.8 * 0.60653, abs=1e-5
        )
        linear = variant.suppress(boxes, scores, labels, iou_threshold=0.4, method="linear")
        assert linear.scores.tolist() == pytest.approx([0.9, 0.4])


def test_a_box_whose_centre_lies_apart_stays_where_hard_suppression_removes_it() -> None:
    # IoU 60 / 140 = 0.4286; centres 4 apart, the box around both 14 x 10: 0.4286 - 16 / 296 = 0.3745.
    boxes, scores, labels = [[0, 0, 10, 10], [4, 0, 14, 10]], [0.9, 0.8], [0, 0]
    assert hard.suppress(boxes, scores, labels, iou_threshold=0.4).indices.tolist() == [0]
    assert diou.suppress(boxes, scores, labels, iou_threshold=0.4).indices.tolist() == [0, 1]
    assert diou.suppress(boxes, scores, labels, iou_threshold=0.37).indices.tolist() == [0]


@pytest.mark.parametrize(("side", "swing", "kept"), [(16, 0.2, 1), (160, 0.2, 2), (16, -0.2, 2), (160, -0.2, 1)])
def test_small_and_large_objects_have_different_thresholds(side: int, swing: float, kept: int) -> None:
    boxes: list[list[float]] = [[0, 0, side, side], [side / 3, 0, side * 4 / 3, side]]  # IoU (2/3) / (4/3) = 0.5
    found = adaptive.suppress(boxes, [0.9, 0.8], [0, 0], iou_threshold=0.5, swing=swing)
    assert len(found.indices) == kept


def test_a_mean_box_is_weighted_by_the_scores() -> None:
    boxes, scores = [[0, 0, 10, 10], [0, 0, 10, 8], [50, 50, 60, 60]], [0.75, 0.25, 0.5]
    found = weighted.suppress(boxes, scores, [0, 0, 0], iou_threshold=0.5)
    assert found.boxes_xyxy.tolist() == [[0, 0, 10, 9.5], [50, 50, 60, 60]]
    assert found.scores.tolist() == [0.75, 0.5]


@pytest.mark.parametrize("variant", ["soft", "soft?method=linear", "matrix", "weighted", "diou", "adaptive"])
def test_infinite_and_inverted_boxes_are_taken(variant: str) -> None:
    boxes: list[list[float]] = [
        [0, 0, 10, 10],
        [-np.inf, 0, np.inf, 9],
        [9, 9, 1, 1],
        [5, 5, 5, 5],
        [0, 0, np.inf, np.inf],
        [0, 0, 10, 10],
    ]
    found = suppressor(variant)(boxes, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [0] * 6, iou_threshold=0.5)
    assert found.indices[0] == 0
    assert np.isfinite(found.scores).all()
    assert not np.isnan(found.boxes_xyxy).any()


@pytest.mark.parametrize(
    ("variant", "sentence"),
    [
        ("sofd", "no NMS variant 'sofd' .did you mean 'soft'"),
        ("hard?sigma=1", "'hard' has no option 'sigma'; it has none"),
        ("soft?sigmo=1", "no option 'sigmo' .did you mean 'sigma'"),
        ("soft?sigma=x", "sigma must be a number, got 'x'"),
        ("soft?sigma=0", "sigma is 0; it must be above 0"),
        ("soft?sigma=nan", "sigma is nan"),
        ("soft?method=cubic", "no method 'cubic'; it has: gaussian, linear"),
        ("matrix?method=cubic", "no method 'cubic'"),
        ("adaptive?small=100", "small must be at least 0 and below large"),
        ("adaptive?swing=2", "swing is 2"),
        ("soft?sigma", "written soft.option=value"),
        ("soft?", "written soft.option=value"),
    ],
)
def test_a_variant_that_does_not_exist_is_refused_with_what_there_is(variant: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        suppressor(variant)


def test_options_in_the_name_reach_the_variant() -> None:
    candidates = crowd(6, 50, 2)
    by_name = suppressor("soft?method=linear&least=0.05")(*candidates, iou_threshold=0.3)
    by_hand = soft.suppress(*candidates, iou_threshold=0.3, method="linear", least=0.05)
    assert (
        by_name.scores.tolist()
        == by_hand.scores.tolist()
        != soft.suppress(*candidates, iou_threshold=0.3).scores.tolist()
    )


@pytest.mark.parametrize("variant", [soft, matrix])
def test_scores_that_are_no_probabilities_are_refused_where_they_are_scaled(variant: Any) -> None:
    with pytest.raises(UsageError, match=r"between 0 and 1, got -1 to 3"):
        variant.suppress(np.zeros((2, 4)), [3, -1], [0, 0], iou_threshold=0.5)
