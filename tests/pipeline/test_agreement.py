"""What two networks find on one image, paired."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.pipeline.agreement import class_pixels, class_table, pair_detections, pair_segments, renumbered
from edgewright.runtime.results import BoxMask, Detections, PanopticMap, Segment, SemanticMap


def objects(*rows: tuple[list[float], float, int]) -> Detections:
    return Detections(
        np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in rows], np.float32),
        np.array([class_id for _, _, class_id in rows], np.int64),
    )


def test_every_object_is_matched_flipped_lost_or_new() -> None:
    a = objects(([0, 0, 10, 10], 0.9, 0), ([20, 0, 30, 10], 0.8, 1), ([40, 0, 50, 10], 0.7, 2))
    b = objects(([0, 0, 10, 8], 0.6, 0), ([20, 0, 30, 10], 0.8, 2), ([70, 0, 80, 10], 0.5, 0))
    paired = pair_detections(a, b)
    assert (paired.matched.tolist(), paired.flipped.tolist()) == ([[0, 0]], [[1, 1]])
    assert (paired.lost.tolist(), paired.new.tolist(), paired.unmatched) == ([2], [2], 3)
    assert paired.overlap.tolist() == pytest.approx([0.8])
    assert paired.score_change.tolist() == pytest.approx([-0.3])


def test_a_box_of_the_same_class_goes_before_a_closer_one_of_another() -> None:
    a = objects(([0, 0, 10, 10], 0.9, 0))
    b = objects(([0, 0, 10, 10], 0.9, 1), ([0, 0, 10, 7], 0.5, 0))
    paired = pair_detections(a, b)
    assert (paired.matched.tolist(), paired.new.tolist()) == ([[0, 1]], [0])


def test_masks_of_matched_boxes_are_compared() -> None:
    full, half = np.ones((10, 10), bool), np.ones((10, 10), bool)
    half[5:] = False
    a, b = (
        Detections(
            np.array([[0, 0, 10, 10]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int64), (BoxMask((0, 0), m),)
        )
        for m in (full, half)
    )
    masks = pair_detections(a, b).mask_overlap
    assert masks is not None
    assert masks.tolist() == [0.5]


boxes = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 2)), max_size=12)


@given(boxes, boxes)
def test_nothing_is_paired_twice_and_nothing_is_forgotten(
    first: list[tuple[int, int, int]], second: list[tuple[int, int, int]]
) -> None:
    a, b = (objects(*(([float(x), y, x + 12, y + 12], 0.5, k) for x, y, k in some)) for some in (first, second))
    paired = pair_detections(a, b)
    for side, rest, count in ((0, paired.lost, len(a)), (1, paired.new, len(b))):
        taken = [*paired.matched[:, side].tolist(), *paired.flipped[:, side].tolist(), *rest.tolist()]
        assert sorted(taken) == list(range(count))
    assert all(a.class_ids[i] == b.class_ids[j] for i, j in paired.matched)
    assert all(a.class_ids[i] != b.class_ids[j] for i, j in paired.flipped)


@given(boxes)
def test_anything_agrees_with_itself(some: list[tuple[int, int, int]]) -> None:
    found = objects(*(([float(x), y, x + 12, y + 12], 0.5, k) for x, y, k in some))
    paired = pair_detections(found, found)
    assert (len(paired.matched), paired.unmatched) == (len(found), 0)
    assert (paired.overlap == 1).all()


def test_segments_are_paired_by_half_of_their_union() -> None:
    first = np.array([[1, 1, 1, 2], [1, 1, 1, 2]], np.int32)
    second = np.array([[7, 7, 7, 7], [7, 7, 9, 9]], np.int32)
    a = PanopticMap(first, (Segment(1, 0, True, 0.9), Segment(2, 1, False)))
    b = PanopticMap(second, (Segment(7, 0, True, 0.7), Segment(9, 2, False)))
    paired = pair_segments(a, b)
    # 5 pixels of 7 are shared by the large ones; the small ones share 1 of 3.
    assert (paired.matched.tolist(), paired.overlap.tolist()) == ([[0, 0]], [5 / 7])
    assert (paired.lost.tolist(), paired.new.tolist()) == ([1], [1])
    assert paired.score_change.tolist() == pytest.approx([-0.2])


def test_pixels_of_no_segment_have_no_class() -> None:
    found = PanopticMap(np.array([[0, 5, 3]], np.int32), (Segment(5, 2, True), Segment(3, 1, False)))
    assert class_pixels(found).tolist() == [[-1, 2, 1]]


def test_classes_are_known_by_their_names() -> None:
    names, numbers = class_table(("person", "tv", "car"), ("background", "TV monitor", "person", "car"))
    assert names == ("person", "tv", "car", "background")
    # PASCAL VOC says tvmonitor for COCO's tv.
    assert numbers.tolist() == [3, 1, 0, 2]
    moved = renumbered(SemanticMap(np.array([[0, 1, 9]])), numbers)
    assert isinstance(moved, SemanticMap)
    assert moved.class_ids.tolist() == [[3, 1, 4]]


def test_labels_of_one_name_keep_their_places() -> None:
    assert class_table(("part", "part"), ("part", "part"))[1].tolist() == [0, 1]
