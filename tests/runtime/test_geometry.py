"""Boxes and placements."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.runtime.geometry import Placement, box_iou, clip_boxes, place, to_xyxy
from edgewright.runtime.spec import PreprocessSpec

sizes = st.tuples(st.integers(1, 3000), st.integers(1, 3000))
modes = st.sampled_from(["letterbox", "letterbox_top_left", "stretch"])


@given(source=sizes, target=sizes, mode=modes, rounding=st.sampled_from(["nearest", "floor"]))
def test_placement_lies_inside_the_tensor_and_keeps_a_letterboxed_aspect(
    source: tuple[int, int], target: tuple[int, int], mode: Any, rounding: Any
) -> None:
    placed = place(source, PreprocessSpec(size_hw=target, resize=mode, rounding=rounding))
    x, y = placed.offset_xy
    assert x >= 0
    assert y >= 0
    assert x + placed.placed_hw[1] <= target[1]
    assert y + placed.placed_hw[0] <= target[0]
    if mode == "stretch":
        assert placed.placed_hw == target
    else:
        assert target[0] == placed.placed_hw[0] or target[1] == placed.placed_hw[1] or rounding == "floor"
        ideal = min(target[0] / source[0], target[1] / source[1])
        assert abs(placed.placed_hw[0] - source[0] * ideal) <= 1
        assert abs(placed.placed_hw[1] - source[1] * ideal) <= 1


@given(source=sizes, target=sizes, mode=modes, data=st.data())
def test_boxes_return_from_the_tensor_to_where_they_were(
    source: tuple[int, int], target: tuple[int, int], mode: Any, data: st.DataObject
) -> None:
    placed = place(source, PreprocessSpec(size_hw=target, resize=mode))
    fractions = np.array(data.draw(st.lists(st.floats(0, 1), min_size=4, max_size=4)), np.float32)
    low, high = np.minimum(fractions[:2], fractions[2:]), np.maximum(fractions[:2], fractions[2:])
    boxes = (np.concatenate([low, high]) * np.array([source[1], source[0]] * 2, np.float32))[None]
    back = placed.to_image(placed.to_tensor(boxes))
    # float32 keeps 24 bits: the error grows with the side and with how far it is shrunk.
    slack = 1e-5 * max(source) * max(1.0, 1 / min(placed.scale_xy) * max(target) / max(source))
    np.testing.assert_allclose(back, boxes, atol=slack)


def test_letterbox_of_a_vga_image_into_416_is_the_documented_one() -> None:
    centred = place((480, 640), PreprocessSpec(size_hw=(416, 416), resize="letterbox"))
    corner = place((480, 640), PreprocessSpec(size_hw=(416, 416), resize="letterbox_top_left", rounding="floor"))
    assert centred == Placement((480, 640), (312, 416), (0, 52))
    assert corner == Placement((480, 640), (312, 416), (0, 0))


def test_floor_and_nearest_differ_where_a_side_is_fractional() -> None:
    nearest = place((427, 640), PreprocessSpec(size_hw=(416, 416), resize="letterbox_top_left"))
    floor = place((427, 640), PreprocessSpec(size_hw=(416, 416), resize="letterbox_top_left", rounding="floor"))
    assert (nearest.placed_hw, floor.placed_hw) == ((278, 416), (277, 416))


def test_iou_equals_pycocotools() -> None:
    mask = pytest.importorskip("pycocotools.mask", reason="pycocotools is a development dependency")
    rng = np.random.default_rng(0)
    a, b = (np.sort(rng.uniform(0, 50, (40, 2, 2)), axis=1).reshape(-1, 4).astype(np.float32) for _ in range(2))
    as_xywh = [np.concatenate([v[:, :2], v[:, 2:] - v[:, :2]], axis=1).astype(np.float64) for v in (a, b)]
    expected = mask.iou(as_xywh[0], as_xywh[1], [0] * len(b))
    np.testing.assert_allclose(box_iou(a, b), expected, atol=1e-5)


def test_iou_of_empty_boxes_is_zero() -> None:
    empty = np.zeros((1, 4), np.float32)
    assert box_iou(empty, empty)[0, 0] == 0
    assert box_iou(empty, np.zeros((0, 4), np.float32)).shape == (1, 0)


def test_clipping_keeps_corners_inside() -> None:
    clipped = clip_boxes(np.array([[-5, -5, 700, 300]], np.float32), (480, 640))
    assert clipped.tolist() == [[0, 0, 640, 300]]


def test_centre_and_size_become_corners() -> None:
    assert to_xyxy(np.array([[10, 20, 4, 6]], np.float32)).tolist() == [[8, 17, 12, 23]]
