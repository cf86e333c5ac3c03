"""Prompts: their texts, their arrays, and the slots that they fill."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.runtime.errors import UsageError
from edgewright.runtime.geometry import place
from edgewright.runtime.prompts import check_prompt, fill_slots, make_prompts, parse_prompts
from edgewright.runtime.spec import PreprocessSpec

sizes = st.tuples(st.integers(1, 3000), st.integers(1, 3000))
modes = st.sampled_from(["letterbox", "letterbox_top_left", "stretch"])
fractions = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=4)


@given(source=sizes, target=sizes, mode=modes, points=fractions)
def test_points_in_the_tensor_lie_where_they_lay_in_the_image(
    source: tuple[int, int], target: tuple[int, int], mode: Any, points: list[tuple[float, float]]
) -> None:
    height, width = source
    placed = place(source, PreprocessSpec(size_hw=target, resize=mode))
    (prompt,) = make_prompts(points_xy=[(x * width, y * height) for x, y in points])
    slots, labels = fill_slots(prompt, placed, 6)
    back = (slots[0] - np.array(placed.offset_xy)) / np.array(placed.scale_xy)
    tolerance = 1e-4 * max(*source, *target) / min(placed.scale_xy)
    assert np.abs(back[: len(points)] - prompt.points_xy).max() < tolerance
    assert labels[0].tolist() == [1] * len(points) + [-1] * (6 - len(points))
    # What is shown to the network lies on the part of the tensor that the image covers.
    low, high = np.array(placed.offset_xy), np.array(placed.offset_xy) + placed.placed_hw[::-1]
    assert (slots[0, : len(points)] >= low - 0.01).all()
    assert (slots[0, : len(points)] <= high + 0.01).all()


def test_a_box_takes_two_slots_before_the_points_with_the_labels_of_its_corners() -> None:
    placed = place((100, 200), PreprocessSpec(size_hw=(50, 50), resize="stretch"))
    (prompt,) = make_prompts(points_xy=[(20, 10), (40, 30)], point_labels=[1, 0], boxes_xyxy=[4, 6, 80, 90])
    slots, labels = fill_slots(prompt, placed, 6)
    # The numbering of SAM's prompt encoder: 0 background, 1 object, 2 and 3 the corners of a box.
    assert labels.tolist() == [[2, 3, 1, 0, -1, -1]]
    assert slots[0, :4].tolist() == [[1, 3], [20, 45], [5, 5], [10, 15]]
    assert labels.dtype == np.int32
    assert slots.dtype == np.float32


def test_texts_are_objects_in_pixels_or_percent_and_background_belongs_to_the_one_before() -> None:
    texts = ["point:50%,25%", "box:10,20,90.5,80+point:30,40", "background:5,100%"]
    first, second = parse_prompts(texts, (400, 600))
    assert first.points_xy.tolist() == [[300, 100]]
    assert first.box_xyxy is None
    assert second.box_xyxy is not None
    assert second.box_xyxy.tolist() == [10, 20, 90.5, 80]
    assert second.points_xy.tolist() == [[30, 40], [5, 400]]
    assert second.on_object.tolist() == [True, False]


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        (["circle:1,2"], "wanted point:X,Y or box:X1,Y1,X2,Y2"),
        (["point:1"], "wanted point:X,Y"),
        (["point:nan,2"], "wanted point:X,Y"),
        (["box:1,2,3"], "wanted point:X,Y or box:X1,Y1,X2,Y2"),
        (["background:1,2"], "give a point or a box of the object"),
        (["box:1,1,5,5+box:2,2,6,6"], "give each box a --prompt of its own"),
    ],
)
def test_a_text_that_is_no_prompt_is_refused_with_what_is_wanted(texts: list[str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        parse_prompts(texts, (100, 100))


def test_arrays_of_several_objects_may_have_different_numbers_of_points() -> None:
    one, two = make_prompts(points_xy=[[(1, 2)], [(3, 4), (5, 6)]], point_labels=[[1], [1, 0]])
    assert one.points_xy.tolist() == [[1, 2]]
    assert two.on_object.tolist() == [True, False]
    padded = make_prompts(points_xy=np.ones((2, 3, 2)), point_labels=np.array([[1, -1, -1], [1, 0, -1]]))
    assert [len(prompt.points_xy) for prompt in padded] == [1, 2]
    assert [p.box_xyxy.tolist() for p in make_prompts(boxes_xyxy=np.eye(4)[:2]) if p.box_xyxy is not None] == [
        [1, 0, 0, 0],
        [0, 1, 0, 0],
    ]


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({}, "the prompt is empty"),
        ({"points_xy": []}, "the prompt is empty"),
        ({"boxes_xyxy": np.zeros((0, 4))}, "the prompt is empty"),
        ({"points_xy": np.zeros((2, 3, 3))}, "points_xy is"),
        ({"points_xy": [[(1, 2)], [(1, 2, 3)]]}, "points_xy is"),
        ({"points_xy": [["a", "b"]]}, "arrays of numbers"),
        ({"boxes_xyxy": np.zeros((2, 3))}, "boxes_xyxy is"),
        ({"boxes_xyxy": np.zeros((1, 2, 4))}, "boxes_xyxy is"),
        ({"points_xy": [(1, 2)], "point_labels": [1, 0]}, "one number for each point"),
        ({"points_xy": [(1, 2)], "point_labels": [7]}, "point_labels are"),
        ({"points_xy": [[(1, 2)]], "boxes_xyxy": np.zeros((2, 4))}, "as many of both"),
    ],
)
def test_arrays_of_other_shapes_and_values_are_refused(arrays: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        make_prompts(**arrays)


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"points_xy": [(101, 5)]}, "lies outside the image, which is 100 wide and 50 high"),
        ({"points_xy": [(5, -0.5)]}, "lies outside the image"),
        ({"points_xy": [(float("nan"), 5)]}, "lies outside the image"),
        ({"boxes_xyxy": [10, 10, 90, 51]}, "lies outside the image"),
        ({"boxes_xyxy": [30, 10, 20, 40]}, "has no area"),
        ({"points_xy": [(5, 5)], "point_labels": [0]}, "nowhere where the object is"),
        ({"points_xy": [(5, 5)], "point_labels": [-1]}, "nowhere where the object is"),
        ({"points_xy": [(5, 5)] * 3, "boxes_xyxy": [1, 1, 9, 9]}, "fills 5 slots .* this bundle has 4"),
    ],
)
def test_a_prompt_that_cannot_be_answered_is_refused(arrays: dict[str, Any], complaint: str) -> None:
    (prompt,) = make_prompts(**arrays)
    with pytest.raises(UsageError, match=complaint):
        check_prompt(prompt, (50, 100), 4)
