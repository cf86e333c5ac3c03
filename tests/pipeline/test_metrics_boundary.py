"""Boundary IoU and boundary AP by the definition of Cheng et al., written out pixel by pixel."""

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgewright.pipeline.metrics.boundary import (
    BoundaryCounts,
    boundary_width,
    count_boundaries,
    mask_boundary,
    match_boundaries,
)
from edgewright.pipeline.metrics.image_sums import sums_of
from edgewright.pipeline.metrics.matched_scores import MatchedScores
from edgewright.pipeline.metrics.matches import match_masks
from edgewright.pipeline.metrics.semantic import IGNORED

LABELS = ("belt", "bolt", "nut")


def by_erosion(mask: Any, width: int) -> Any:
    """The published code: a border of one pixel of zeros, `width` erosions by 3 x 3, and what they took away."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1]
    return mask.astype(np.uint8) - eroded > 0


@given(arrays(np.bool_, (12, 15)), st.integers(1, 4))
def test_the_boundary_of_a_mask_is_what_erosions_take_away(mask: Any, width: int) -> None:
    np.testing.assert_array_equal(mask_boundary(mask, width), by_erosion(mask, width))


def test_a_boundary_is_two_hundredths_of_the_diagonal_wide() -> None:
    """A diagonal of 800 pixels; a picture of a few has a boundary nevertheless."""
    assert boundary_width((480, 640)) == 16
    assert boundary_width((8, 8)) == 1


maps = arrays(np.int64, (6, 7), elements=st.integers(0, 2))


def score(truth: Any, found: Any) -> dict[str, float]:
    counts = BoundaryCounts(LABELS, None, sums_of([1], [count_boundaries(truth, found, 3)], (3, 3)))
    scores = counts.scores()
    return dict(zip(scores.names, scores.values(np.ones(1, np.int64)).tolist(), strict=True))


@given(maps, maps, st.integers(2, 12))
def test_boundaries_of_all_classes_at_once_are_those_of_each(truth: Any, found: Any, block: int) -> None:
    truth, found = (np.kron(some, np.ones((block, block), np.int64)) for some in (truth, found))
    width, expected = boundary_width((truth.shape[0], truth.shape[1])), {}
    for k, label in enumerate(LABELS):
        ours, theirs = by_erosion(truth == k, width), by_erosion(found == k, width)
        if (ours | theirs).any():
            expected[f"boundary-IoU/{label}"] = (ours & theirs).sum() / (ours | theirs).sum()
    assert score(truth, found) == pytest.approx(expected | {"boundary-IoU": np.mean(list(expected.values()))})


@given(maps, maps)
def test_what_is_predicted_in_ignored_pixels_changes_nothing(truth: Any, found: Any) -> None:
    truth = np.where(np.arange(7) < 4, truth, IGNORED)
    other = np.where(np.arange(7) < 4, found, 1)
    assert score(truth, found) == score(truth, other)


def test_a_map_without_a_class_is_a_miss_and_no_class() -> None:
    truth = np.zeros((10, 10), np.int64)
    assert score(truth, np.full((10, 10), 255)) == {"boundary-IoU": 0.0, "boundary-IoU/belt": 0.0}


def scene(shift: int, cut: int = 0) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A square of 60 x 60 in a picture of 100 x 100, found `shift` pixels to the right and `cut` rows shorter."""
    from pycocotools import mask as coding

    true, found = np.zeros((100, 100), np.uint8, order="F"), np.zeros((100, 100), np.uint8, order="F")
    true[20:80, 20:80] = 1
    found[20 : 80 - cut, 20 + shift : 80 + shift] = 1
    label = {"id": 1, "image_id": 1, "category_id": 1, "area": 3600.0, "iscrowd": 0, "bbox": [20, 20, 60, 60]}
    truth = {
        "images": [{"id": 1, "height": 100, "width": 100}],
        "categories": [{"id": 1, "name": "bolt"}],
        "annotations": [{**label, "segmentation": coding.encode(true)}],
    }
    return truth, [{"image_id": 1, "category_id": 1, "score": 0.9, "segmentation": coding.encode(found)}]


@pytest.mark.parametrize(("shift", "cut"), [(0, 0), (1, 0), (2, 1), (3, 0), (8, 8)])
def test_boundary_ap_takes_the_lesser_overlap(shift: int, cut: int) -> None:
    """As the published evaluation: the lesser of the overlaps of masks and of boundaries, here 3 pixels wide."""
    truth, found = scene(shift, cut)
    true, seen = np.zeros((100, 100), bool), np.zeros((100, 100), bool)
    true[20:80, 20:80], seen[20 : 80 - cut, 20 + shift : 80 + shift] = True, True
    ours, theirs = by_erosion(true, 3), by_erosion(seen, 3)
    least = min((true & seen).sum() / (true | seen).sum(), (ours & theirs).sum() / (ours | theirs).sum())
    scores = MatchedScores(match_boundaries(truth, found), names={"boundary-AP"}, prefix="boundary-")
    assert scores.values(np.ones(1, np.int64))[0] == pytest.approx(np.mean(least >= np.linspace(0.5, 0.95, 10)))


def test_a_crowd_is_matched_by_its_mask() -> None:
    truth, found = scene(3)
    truth["annotations"].append({**truth["annotations"][0], "id": 2, "category_id": 2})
    truth["categories"].append({"id": 2, "name": "nut"})
    truth["annotations"][0]["iscrowd"] = 1
    by_boundary, by_mask = match_boundaries(truth, found), match_masks(truth, found)
    np.testing.assert_array_equal(by_boundary.ignored, by_mask.ignored)
    np.testing.assert_array_equal(by_boundary.hit, by_mask.hit)
