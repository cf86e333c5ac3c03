"""IoU, Dice and accuracy of class maps, against scikit-learn where it is installed and numbers worked out by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgewright.pipeline.metrics.semantic import IGNORED, confusion, map_scores
from edgewright.runtime.errors import DataError

LABELS = ("background", "disc", "cup", "void")


def values(truth: Any, predicted: Any, labels: tuple[str, ...] = LABELS, **options: Any) -> dict[str, float]:
    counts = confusion(np.asarray(truth), np.asarray(predicted), len(labels))
    return {m.name: m.value for m in map_scores(counts, labels, **options).measurements}


def test_scores_are_those_worked_out_by_hand() -> None:
    truth = [[0, 0, 0, 1, 1, 1, 1, 2, 2, IGNORED]]
    found = [[0, 0, 1, 1, 1, 1, 0, 2, 9, 1]]
    # background: 2 hits, 3 true, 3 predicted; disc: 3, 4, 4; cup: 1, 2, 1 (its other pixel has no class).
    assert values(truth, found, LABELS[:3], background_id=0) == pytest.approx(
        {
            "mIoU": (2 / 4 + 3 / 5 + 1 / 2) / 3,
            "Dice": (6 / 8 + 2 / 3) / 2,
            "pixel-accuracy": 6 / 9,
            "IoU/background": 2 / 4,
            "IoU/disc": 3 / 5,
            "IoU/cup": 1 / 2,
            "Dice/background": 4 / 6,
            "Dice/disc": 6 / 8,
            "Dice/cup": 2 / 3,
        }
    )


maps = arrays(np.int64, (4, 6), elements=st.integers(0, 3))


@given(st.lists(st.tuples(maps, maps), min_size=1, max_size=3))
def test_scores_are_those_of_scikit_learn(pairs: list[tuple[Any, Any]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    counts = sum(confusion(truth, predicted, 4) for truth, predicted in pairs)
    got = {m.name: m.value for m in map_scores(np.asarray(counts), LABELS, background_id=0).measurements}
    truth, predicted = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    present = sorted(set(truth) | set(predicted))
    iou = metrics.jaccard_score(truth, predicted, labels=present, average=None)
    dice = metrics.f1_score(truth, predicted, labels=present, average=None)
    wanted = {
        "mIoU": iou.mean(),
        "pixel-accuracy": metrics.accuracy_score(truth, predicted),
        **{f"IoU/{LABELS[k]}": value for k, value in zip(present, iou, strict=True)},
        **{f"Dice/{LABELS[k]}": value for k, value in zip(present, dice, strict=True)},
    }
    if present != [0]:
        wanted["Dice"] = np.mean([value for k, value in zip(present, dice, strict=True) if k])
    assert got == pytest.approx(wanted)


@given(maps, maps, st.integers(1, 5))
def test_counts_do_not_depend_on_how_pixels_are_cut_into_images(truth: Any, predicted: Any, at: int) -> None:
    parts = confusion(truth[:, :at], predicted[:, :at], 4) + confusion(truth[:, at:], predicted[:, at:], 4)
    np.testing.assert_array_equal(confusion(truth, predicted, 4), parts)


@given(maps, maps)
def test_ignored_pixels_change_nothing_whatever_is_predicted_there(truth: Any, predicted: Any) -> None:
    padded = np.concatenate([truth, np.full_like(truth, IGNORED)]), np.concatenate([predicted, predicted])
    np.testing.assert_array_equal(confusion(truth, predicted, 4), confusion(*padded, 4))


def test_a_label_of_unlabelled_pixels_is_a_miss_but_no_class() -> None:
    """Predicting void loses the pixel; it adds no class to the mean."""
    got = values([[0, 0, 1, 1]], [[0, 0, 1, 3]], ignored_id=3)
    assert got["mIoU"] == (1 + 1 / 2) / 2
    assert got["pixel-accuracy"] == 3 / 4
    assert "IoU/void" not in got


def test_what_is_absent_or_invented_is_said() -> None:
    scores = map_scores(confusion(np.array([[0, 0, 1]]), np.array([[0, 2, 1]]), 4), LABELS)
    assert scores.notes == (
        "1 of 4 classes appear nowhere and do not count: void",
        "predicted but nowhere labelled, so their IoU is 0: cup",
    )
    assert {m.name: m.value for m in scores.measurements}["IoU/cup"] == 0.0


def test_masks_without_a_scored_pixel_are_refused() -> None:
    with pytest.raises(DataError, match="no pixel that counts"):
        values([[IGNORED]], [[1]])
