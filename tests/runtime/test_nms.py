"""What every suppression variant promises, and hard suppression checked by hand."""

import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgewright.runtime import plugins
from edgewright.runtime.errors import UsageError
from edgewright.runtime.nms import Suppressed
from edgewright.runtime.nms.hard import keep_indices, suppress

VARIANTS = "edgewright.runtime.nms"


def random_boxes(rng: np.random.Generator, count: int, extent: float = 640.0) -> npt.NDArray[np.float32]:
    centers, sizes = rng.uniform(0, extent, (count, 2)), rng.uniform(10, 200, (count, 2))
    return np.hstack([centers - sizes / 2, centers + sizes / 2]).astype(np.float32)


@pytest.mark.parametrize("variant", plugins.names(VARIANTS))
def test_every_variant_returns_the_best_first_and_no_more_than_asked_for(variant: str) -> None:
    rng = np.random.default_rng(0)
    boxes, scores, labels = random_boxes(rng, 200), rng.random(200, dtype=np.float32), rng.integers(0, 3, 200)
    found: Suppressed = plugins.load(VARIANTS, variant).suppress(
        boxes, scores, labels, iou_threshold=0.5, max_detections=7
    )
    assert 1 <= len(found.indices) <= 7
    assert found.boxes_xyxy.shape == (len(found.indices), 4)
    assert (np.diff(found.scores) <= 0).all()
    assert found.indices[0] == scores.argmax()


@pytest.mark.parametrize("variant", plugins.names(VARIANTS))
@pytest.mark.parametrize("class_agnostic", [False, True])
def test_every_variant_takes_no_candidates_at_all(variant: str, class_agnostic: bool) -> None:
    found: Suppressed = plugins.load(VARIANTS, variant).suppress(
        np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), iou_threshold=0.5, class_agnostic=class_agnostic
    )
    assert [field.shape for field in found] == [(0,), (0, 4), (0,)]
    assert [field.dtype.name for field in found] == ["int64", "float32", "float32"]


@pytest.mark.parametrize("variant", plugins.names(VARIANTS))
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"boxes_xyxy": np.zeros((3, 5))}, r"boxes \(N, 4\).*\(3, 5\)"),
        ({"scores": np.zeros(2)}, r"got \(3, 4\), \(2,\) and \(3,\)"),
        ({"class_ids": np.zeros((3, 1), int)}, r"\(3, 1\)"),
        ({"class_ids": np.zeros(3)}, "integer class ids, got float64"),
        ({"boxes_xyxy": [[0, 0, 1, 1], [0, 0, np.nan, 1], [0, 0, 1, 1]]}, "candidate 1 has NaN in its boxes"),
        ({"scores": [0.5, 0.4, np.nan]}, "candidate 2 has NaN in its scores"),
        ({"iou_threshold": 1.5}, "threshold is 1.5"),
        ({"iou_threshold": -0.1}, "threshold is -0.1"),
        ({"iou_threshold": float("nan")}, "threshold is nan"),
        ({"max_detections": 0}, "max_detections is 0"),
    ],
)
def test_every_variant_says_what_is_wrong_with_its_input(variant: str, change: dict[str, Any], sentence: str) -> None:
    good = {"boxes_xyxy": np.zeros((3, 4)), "scores": np.zeros(3), "class_ids": np.zeros(3, int), "iou_threshold": 0.5}
    with pytest.raises(UsageError, match=sentence):
        plugins.load(VARIANTS, variant).suppress(**(good | change))


def test_an_iou_at_the_threshold_is_not_above_it() -> None:
    boxes = [[0, 0, 10, 10], [0, 0, 10, 5]]  # 50 / 100
    assert keep_indices(boxes, [0.9, 0.8], [0, 0], iou_threshold=0.5).tolist() == [0, 1]
    assert keep_indices(boxes, [0.9, 0.8], [0, 0], iou_threshold=0.4999).tolist() == [0]


def test_only_boxes_of_one_class_suppress_each_other_unless_classes_do_not_count() -> None:
    boxes, scores, labels = np.tile([0, 0, 10, 10], (4, 1)), [0.6, 0.9, 0.7, 0.8], [5, -3, 5, -3]
    assert keep_indices(boxes, scores, labels, iou_threshold=0.5).tolist() == [1, 2]
    assert keep_indices(boxes, scores, labels, iou_threshold=0.5, class_agnostic=True).tolist() == [1]


@pytest.mark.parametrize("count", [5, 64, 65, 128, 129, 300])
@pytest.mark.parametrize("classes", [1, 2])
def test_of_a_chain_in_which_each_box_overlaps_its_neighbours_every_second_one_stays(count: int, classes: int) -> None:
    left = np.repeat(np.arange(count), classes).astype(float)
    boxes = np.stack([left, left * 0, left + 3, left * 0 + 1], axis=1)  # neighbours: IoU 2 / 4; the next ones: 1 / 5
    labels = np.tile(np.arange(classes), count)
    kept = keep_indices(boxes, -left, labels, iou_threshold=0.45)
    assert kept.tolist() == [i for i in range(count * classes) if (i // classes) % 2 == 0]


@pytest.mark.parametrize("shift", [-(2**62), -5, 0, 70000, 2**62])
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.uint64])
def test_the_numbers_of_the_classes_do_not_matter(shift: int, dtype: type[np.integer[Any]]) -> None:
    rng = np.random.default_rng(1)
    boxes, scores, labels = random_boxes(rng, 300), rng.random(300), rng.integers(0, 4, 300)
    expected = keep_indices(boxes, scores, labels, iou_threshold=0.3).tolist()
    assert keep_indices(boxes, scores, labels.astype(dtype), iou_threshold=0.3).tolist() == expected
    assert keep_indices(boxes, scores, labels * 2**33 + shift, iou_threshold=0.3).tolist() == expected


@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize("iou_threshold", [0.02, 0.3, 0.8])
def test_a_limit_gives_the_beginning_of_the_full_answer(iou_threshold: float, class_agnostic: bool) -> None:
    rng = np.random.default_rng(2)
    candidates = random_boxes(rng, 900, extent=100), rng.random(900), rng.integers(0, 3, 900)
    options: dict[str, Any] = {"iou_threshold": iou_threshold, "class_agnostic": class_agnostic}
    everything = keep_indices(*candidates, **options).tolist()
    for limit in (1, 2, 5, 10, 50, 200, 5000):
        assert keep_indices(*candidates, max_detections=limit, **options).tolist() == everything[:limit]


def test_what_stayed_stays_when_suppressed_again() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 5, 2000)
    first = suppress(random_boxes(rng, 2000), rng.random(2000), labels, iou_threshold=0.4)
    again = suppress(first.boxes_xyxy, first.scores, labels[first.indices], iou_threshold=0.4)
    assert again.indices.tolist() == list(range(len(first.indices)))
    np.testing.assert_array_equal(again.boxes_xyxy, first.boxes_xyxy)


def test_boxes_and_scores_of_other_types_and_layouts_are_taken() -> None:
    rng = np.random.default_rng(4)
    boxes, scores, labels = random_boxes(rng, 50), rng.random(50, dtype=np.float32), rng.integers(0, 3, 50)
    expected = keep_indices(boxes, scores, labels, iou_threshold=0.3).tolist()
    strided = np.asfortranarray(np.repeat(boxes.astype(np.float64), 2, axis=0))[::2]
    strided.flags.writeable = False
    assert (
        keep_indices(strided, scores.astype(np.float64), labels.astype(np.int8), iou_threshold=0.3).tolist() == expected
    )
    assert keep_indices(boxes.tolist(), scores.tolist(), labels.tolist(), iou_threshold=0.3).tolist() == expected


@pytest.mark.parametrize("classes", [1, 20, 100, 1000])
def test_memory_grows_with_the_number_of_candidates_and_not_with_its_square(classes: int) -> None:
    rng = np.random.default_rng(5)
    count = 12000
    boxes, scores = np.repeat(random_boxes(rng, count // 20), 20, axis=0), rng.random(count)
    labels = rng.integers(0, classes, count)
    tracemalloc.start()
    try:
        keep_indices(boxes, scores, labels, iou_threshold=0.5)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 400 * count + 2**20
