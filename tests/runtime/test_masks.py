"""Grids brought to the pixels of an image, against torch's interpolation and plain loops."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgewright.runtime.geometry import place
from edgewright.runtime.masks import (
    Grid,
    box_mask,
    cells_under,
    hats_of,
    interpolate,
    mask_of_runs,
    nearest,
    outlines,
    output_grid,
    pixel_window,
    run_counts,
)
from edgewright.runtime.results import BoxMask
from edgewright.runtime.spec import PreprocessSpec, Resize

sides = st.integers(1, 40)
scales = st.floats(0.05, 8)


def random_values(seed: int, size_hw: tuple[int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=size_hw).astype(np.float32)


@given(sides, sides, sides, sides, st.integers(0, 9))
def test_a_whole_map_is_resized_as_torch_does_it(h: int, w: int, height: int, width: int, seed: int) -> None:
    values = random_values(seed, (h, w))
    got = interpolate(values, Grid((w / width, h / height), (0.0, 0.0)), (0, 0, width, height))
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None, None], (height, width), mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(got, wanted[0, 0].numpy(), atol=1e-4)


@given(
    st.tuples(scales, scales),
    st.tuples(st.floats(-9, 9), st.floats(-9, 9)),
    st.integers(-5, 9),
    st.integers(-5, 9),
    sides,
    sides,
)
def test_any_window_of_any_grid_is_sampled_as_torch_does_it(
    scale: tuple[float, float], offset: tuple[float, float], x: int, y: int, w: int, h: int
) -> None:
    values = random_values(0, (12, 17))
    got = interpolate(values, Grid(scale, offset), (x, y, x + w, y + h))
    # grid_sample counts from -1 to 1 over the outer edges of the map.
    gx = ((np.arange(x, x + w) + 0.5) * scale[0] + offset[0]) * 2 / 17 - 1
    gy = ((np.arange(y, y + h) + 0.5) * scale[1] + offset[1]) * 2 / 12 - 1
    places = torch.from_numpy(np.stack(np.meshgrid(gx, gy), axis=-1).astype(np.float32))[None]
    wanted = torch.nn.functional.grid_sample(
        torch.from_numpy(values)[None, None], places, padding_mode="border", align_corners=False
    )
    # OpenCV places samples at 1/32 of a cell; neighbours differ by up to 6 here.
    np.testing.assert_allclose(got, wanted[0, 0].numpy(), atol=6 / 16)
    assert float(np.abs(got - wanted[0, 0].numpy()).mean()) < 0.06


@given(st.tuples(*[st.floats(-30, 60)] * 4).map(np.array), st.integers(1, 40), st.integers(1, 40))
def test_a_window_holds_the_pixels_whose_centres_lie_in_the_box(
    box: np.ndarray[tuple[int, ...], np.dtype[np.float64]], height: int, width: int
) -> None:
    x1, y1, x2, y2 = pixel_window(box, (height, width))
    got = {(x, y) for x in range(x1, x2) for y in range(y1, y2)}
    wanted = {
        (x, y) for x in range(width) for y in range(height) if box[0] <= x + 0.5 < box[2] and box[1] <= y + 0.5 < box[3]
    }
    assert got == wanted


@given(st.tuples(scales, scales), st.tuples(st.floats(-9, 9), st.floats(-9, 9)), sides, sides)
def test_every_pixel_takes_the_cell_it_lies_in(
    scale: tuple[float, float], offset: tuple[float, float], h: int, w: int
) -> None:
    cells = np.arange(12 * 17).reshape(12, 17)
    got = nearest(cells, Grid(scale, offset), (h, w))
    for y in range(h):
        for x in range(w):
            row = min(max(int(np.floor((y + 0.5) * scale[1] + offset[1])), 0), 11)
            column = min(max(int(np.floor((x + 0.5) * scale[0] + offset[0])), 0), 16)
            assert got[y, x] == cells[row, column]


@given(st.tuples(scales, scales), st.tuples(st.floats(-9, 9), st.floats(-9, 9)), sides, sides, sides, sides)
def test_the_cells_around_a_window_are_all_that_interpolation_needs(
    scale: tuple[float, float], offset: tuple[float, float], x: int, y: int, w: int, h: int
) -> None:
    values, grid, window = random_values(1, (30, 40)), Grid(scale, offset), (x, y, x + w, y + h)
    x1, y1, x2, y2 = cells_under(window, grid, (30, 40), margin=1)
    part = interpolate(np.ascontiguousarray(values[y1:y2, x1:x2]), grid.shifted((x1, y1)), window)
    # The positions of samples are rounded to 1/32 of a cell in both.
    np.testing.assert_allclose(part, interpolate(values, grid, window), atol=0.3)


@given(st.tuples(scales, scales), st.tuples(st.floats(-9, 9), st.floats(-9, 9)), sides, sides, sides, sides)
def test_products_with_hats_interpolate_as_numpy_does_in_each_direction(
    scale: tuple[float, float], offset: tuple[float, float], x: int, y: int, w: int, h: int
) -> None:
    values, grid, window = random_values(1, (30, 40)), Grid(scale, offset), (x, y, x + w, y + h)
    x1, y1, x2, y2 = cells = cells_under(window, grid, (30, 40), margin=1)
    got = hats_of(grid, (30, 40), (y + h, x + w)).interpolate(values[y1:y2, x1:x2], cells, window)
    places_x = (np.arange(x, x + w) + 0.5) * scale[0] + offset[0] - 0.5
    places_y = (np.arange(y, y + h) + 0.5) * scale[1] + offset[1] - 0.5
    across = np.stack([np.interp(places_x, np.arange(40), row) for row in values])
    wanted = np.stack([np.interp(places_y, np.arange(30), column) for column in across.T], axis=1)
    np.testing.assert_allclose(got, wanted, atol=1e-3)


@pytest.mark.parametrize("resize", ["letterbox", "letterbox_top_left", "stretch"])
def test_what_lies_in_the_tensor_comes_back_to_its_place_in_the_image(resize: Resize) -> None:
    spec = PreprocessSpec(size_hw=(96, 160), resize=resize)
    placement = place((90, 70), spec)
    box = np.array([[21.0, 30.0, 52.0, 67.0]], np.float32)
    x1, y1, x2, y2 = placement.to_tensor(box)[0] / 4
    rows, columns = np.mgrid[:24, :40] + 0.5
    # The signed distance from the box's edges in cells, which bilinear interpolation keeps.
    inside = np.minimum.reduce([columns - x1, x2 - columns, rows - y1, y2 - rows]).astype(np.float32)
    mask = box_mask(
        inside, output_grid(placement, (96, 160), (24, 40)), np.array([0, 0, 70, 90]), (90, 70), threshold=0
    )
    found_rows, found_columns = np.nonzero(mask.paste((90, 70)))
    edges = [found_columns.min(), found_rows.min(), found_columns.max() + 1, found_rows.max() + 1]
    np.testing.assert_allclose(edges, box[0], atol=1.0)


def test_a_box_without_a_pixel_has_an_empty_mask() -> None:
    mask = box_mask(np.ones((4, 4), np.float32), Grid((1, 1), (0, 0)), np.array([2.6, 1, 3.4, 3]), (9, 9), threshold=0)
    assert mask.pixels.size == 0
    assert not mask.paste((9, 9)).any()


def inside(rings: list[list[int]], x: float, y: float) -> bool:
    """Even-odd rule: a ray to the right crosses the rings an odd number of times."""
    crossings = 0
    for ring in rings:
        corners = list(zip(ring[::2], ring[1::2], strict=True))
        for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
            assert (x1 == x2) != (y1 == y2), "a ring runs along the edges of pixels and turns at each corner"
            crossings += x1 == x2 and x1 > x and min(y1, y2) < y < max(y1, y2)
    return crossings % 2 == 1


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_polygons_hold_exactly_the_pixels_of_the_mask(h: int, w: int, data: st.DataObject) -> None:
    pixels = np.array(data.draw(st.lists(st.booleans(), min_size=h * w, max_size=h * w)), bool).reshape(h, w)
    polygons = outlines(BoxMask((-3, 20), pixels))
    for y in range(h):
        for x in range(w):
            holding = [inside(rings, -3 + x + 0.5, 20 + y + 0.5) for rings in polygons]
            assert sum(holding) == pixels[y, x], (x, y)


def test_a_ring_is_one_polygon_with_a_hole_and_an_island_in_it_another() -> None:
    pixels = np.ones((7, 7), bool)
    pixels[1:6, 1:6] = False
    pixels[3, 3] = True
    polygons = sorted(outlines(BoxMask((10, 0), pixels)), key=len)
    assert [[set(zip(ring[::2], ring[1::2], strict=True)) for ring in rings] for rings in polygons] == [
        [{(13, 3), (14, 3), (14, 4), (13, 4)}],
        [{(10, 0), (17, 0), (17, 7), (10, 7)}, {(11, 1), (16, 1), (16, 6), (11, 6)}],
    ]


def test_a_mask_without_pixels_has_no_outline() -> None:
    assert outlines(BoxMask((4, 4), np.zeros((3, 3), bool))) == []
    assert outlines(BoxMask((4, 4), np.zeros((0, 0), bool))) == []


@given(st.integers(1, 12), st.integers(1, 12), st.integers(-4, 14), st.integers(-4, 14), st.integers(0, 99))
def test_runs_give_back_the_mask_that_they_came_from(h: int, w: int, x: int, y: int, seed: int) -> None:
    mask = BoxMask((x, y), np.random.default_rng(seed).random((h, w)) < 0.5)
    back = mask_of_runs(run_counts(mask, (15, 11)), (15, 11))
    assert (back.paste((15, 11)) == mask.paste((15, 11))).all()
    # It is cut to its pixels.
    assert not back.pixels.size or (
        back.pixels[[0, -1]].any(axis=1).all() and back.pixels[:, [0, -1]].any(axis=0).all()
    )


def test_runs_of_another_picture_are_refused() -> None:
    with pytest.raises(ValueError, match="runs of 12 pixels do not fill an image of 4 x 4"):
        mask_of_runs([10, 2], (4, 4))
    with pytest.raises(ValueError, match="runs of 0 pixels"):
        mask_of_runs([], (4, 4))
