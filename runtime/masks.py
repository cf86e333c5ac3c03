"""Masks and class maps that a network computes on a coarse grid, brought to the pixels of the source image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgewright.runtime.geometry import Placement
from edgewright.runtime.results import BoxMask

Values = npt.NDArray[np.float32]
_HAIR = 1e-6
# First and last pixel + 1 of a part of the source image: x1, y1, x2, y2.
Window = tuple[int, int, int, int]


@dataclass(frozen=True)
class Grid:
    """Where a grid of cells lies over the source image: x_grid = x_image * scale + offset.

    Coordinates are continuous: pixel i covers [i, i + 1), and so does cell i. A mask of m x m cells that spans a box from
    x1 to x2 has the scale m / (x2 - x1) and the offset -x1 * scale.
    """

    scale_xy: tuple[float, float]
    offset_xy: tuple[float, float]

    def shifted(self, cells_xy: tuple[int, int]) -> "Grid":
        """The grid of what remains after cutting off so many cells at the left and the top."""
        return Grid(self.scale_xy, (self.offset_xy[0] - cells_xy[0], self.offset_xy[1] - cells_xy[1]))


def output_grid(placement: Placement, tensor_hw: tuple[int, int], map_hw: tuple[int, int]) -> Grid:
    """The grid of an output of `map_hw` cells that covers the whole input tensor of `tensor_hw`."""
    cells = (map_hw[1] / tensor_hw[1], map_hw[0] / tensor_hw[0])
    scale, offset = placement.scale_xy, placement.offset_xy
    return Grid((scale[0] * cells[0], scale[1] * cells[1]), (offset[0] * cells[0], offset[1] * cells[1]))


def pixel_window(box_xyxy: npt.NDArray[Any], size_hw: tuple[int, int]) -> Window:
    """The pixels of an image of `size_hw` whose centres lie in the box; none when x2 <= x1 or y2 <= y1."""
    x1, y1, x2, y2 = (math.ceil(float(edge) - 0.5) for edge in box_xyxy)
    return max(x1, 0), max(y1, 0), min(x2, size_hw[1]), min(y2, size_hw[0])


def cells_under(window: Window, grid: Grid, map_hw: tuple[int, int], *, margin: int = 0) -> Window:
    """The cells of a map of `map_hw` that lie under `window`, at least one in each direction, and `margin` more around.

    With a margin of 1, interpolation inside the window needs no other cell.
    """
    low, high = [], []
    for axis, cells in ((0, map_hw[1]), (1, map_hw[0])):
        scale, offset = grid.scale_xy[axis], grid.offset_xy[axis]
        # An edge that rounding moved over a cell's edge by a hair takes no further cell.
        first = math.floor(window[axis] * scale + offset + _HAIR) - margin
        last = math.ceil(window[axis + 2] * scale + offset - _HAIR) + margin
        low.append(min(max(first, 0), cells - 1))
        high.append(min(max(last, low[-1] + 1), cells))
    return low[0], low[1], high[0], high[1]


def interpolate(values: Values, grid: Grid, window: Window, *, out: Values | None = None) -> Values:
    """The values (h, w) of a grid at the pixels of `window`, bilinear; the outermost cells continue outwards.

    `out` takes the result; allocating megabytes anew costs more than filling them.
    """
    x1, y1, x2, y2 = window
    size = (x2 - x1, y2 - y1)
    if _spans(values, grid, window):
        return np.asarray(cv2.resize(values, size, dst=out, interpolation=cv2.INTER_LINEAR), np.float32)
    # OpenCV counts from the centre of the first pixel and of the first cell.
    (sx, sy), (ox, oy) = grid.scale_xy, grid.offset_xy
    matrix = np.array([[sx, 0, (x1 + 0.5) * sx + ox - 0.5], [0, sy, (y1 + 0.5) * sy + oy - 0.5]], np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(values, matrix, size, dst=out, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.float32)


@dataclass(frozen=True)
class Hats:
    """The weights of bilinear interpolation of a grid at all pixels of an image: `rows` (H, h) and `columns` (W, w).

    For small parts of a grid two products with them are faster than OpenCV's warp, and are not rounded to 1/32 of a cell. The
    outermost cells continue outwards.
    """

    rows: Values
    columns: Values

    def interpolate(self, values: Values, cells: Window, window: Window) -> Values:
        """The values at the pixels of `window`, given those of `cells`, as `cells_under` finds them with a margin of 1."""
        rows, columns = (
            hats[window[axis] : window[axis + 2], cells[axis] : cells[axis + 2]]
            for axis, hats in ((1, self.rows), (0, self.columns))
        )
        return np.asarray(rows @ values @ columns.T, np.float32)


@lru_cache(maxsize=8)
def hats_of(grid: Grid, map_hw: tuple[int, int], size_hw: tuple[int, int]) -> Hats:
    """The weights of a map of `map_hw` cells for an image of `size_hw`."""
    found = []
    for axis, cells, pixels in ((1, map_hw[0], size_hw[0]), (0, map_hw[1], size_hw[1])):
        places = (np.arange(pixels) + 0.5) * grid.scale_xy[axis] + grid.offset_xy[axis] - 0.5
        distances = np.abs(np.clip(places, 0, cells - 1)[:, None] - np.arange(cells))
        found.append(np.maximum(1 - distances, 0).astype(np.float32))
    return Hats(*found)


def nearest(values: npt.NDArray[Any], grid: Grid, size_hw: tuple[int, int]) -> npt.NDArray[Any]:
    """The cell (H, W) that every pixel of an image of `size_hw` lies in; outside the grid, the closest one."""
    rows, columns = (
        np.clip(np.floor((np.arange(pixels) + 0.5) * grid.scale_xy[axis] + grid.offset_xy[axis]), 0, cells - 1)
        for axis, pixels, cells in ((1, size_hw[0], values.shape[0]), (0, size_hw[1], values.shape[1]))
    )
    return np.asarray(values[rows.astype(np.int64)].take(columns.astype(np.int64), axis=1))


def box_mask(
    values: Values, grid: Grid, box_xyxy: npt.NDArray[Any], size_hw: tuple[int, int], *, threshold: float
) -> BoxMask:
    """The mask of an object in its box: the pixels where the interpolated values reach the threshold."""
    window = pixel_window(box_xyxy, size_hw)
    if window[2] <= window[0] or window[3] <= window[1]:
        return BoxMask(window[:2], np.zeros((0, 0), bool))
    return BoxMask(window[:2], interpolate(values, grid, window) >= threshold)


def run_counts(mask: BoxMask, size_hw: tuple[int, int]) -> list[int]:
    """The lengths of the runs of a mask in an image of `size_hw`, column by column, the first of them outside: COCO's run-length
    encoding. What lies outside the image is cut off."""
    (x, y), (height, width) = mask.top_left_xy, size_hw
    inside = mask.pixels[max(-y, 0) : max(height - y, 0), max(-x, 0) : max(width - x, 0)]
    x, y = max(x, 0), max(y, 0)
    # A column that begins and ends empty changes at the first and after the last pixel of each of its runs.
    columns = np.zeros((inside.shape[1], inside.shape[0] + 2), np.int8)
    columns[:, 1:-1] = inside.T
    column, row = np.nonzero(np.diff(columns, axis=1))
    changes = (x + column) * height + y + row
    # A run that reaches the bottom goes on where the next column's begins at the top: there is no change between them.
    same = changes[1:] == changes[:-1]
    changes = changes[~(np.append(same, False) | np.append(False, same))] if len(changes) else changes
    counts: list[int] = np.diff(changes, prepend=0, append=height * width).tolist()
    return counts if counts[-1] or len(counts) == 1 else counts[:-1]


def mask_of_runs(counts: Sequence[int], size_hw: Sequence[int]) -> BoxMask:
    """The mask that `run_counts` gave, cut to its pixels; ValueError when the runs do not fill the image."""
    height, width = size_hw
    ends = np.cumsum(counts)
    if not len(ends) or ends[-1] != height * width:
        raise ValueError(f"runs of {ends[-1] if len(ends) else 0} pixels do not fill an image of {height} x {width}")
    starts, stops = ends[:-1:2], ends[1::2]
    if not len(starts) or starts[0] == stops[-1]:
        return BoxMask((0, 0), np.zeros((0, 0), bool))
    first, last = int(starts[0]) // height, (int(stops[-1]) - 1) // height + 1
    # Only the columns that it touches: a full image for every object would take most of the time.
    steps = np.zeros((last - first) * height + 1, np.int8)
    np.add.at(steps, starts - first * height, 1)
    np.add.at(steps, stops - first * height, -1)
    columns = np.cumsum(steps[:-1], dtype=np.int8).view(bool).reshape(last - first, height)
    rows = np.flatnonzero(columns.any(axis=0))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    return BoxMask((first, top), np.ascontiguousarray(columns[:, top:bottom].T))


def outlines(mask: BoxMask) -> list[list[list[int]]]:
    """The mask as polygons along the edges of its pixels, in pixels of the image: pixel i covers [i, i + 1).

    Each is a list of rings x1, y1, x2, y2, ..., the outer one and then its holes; a point lies in the mask when it lies in an odd
    number of rings. Pixels that touch at a corner are of one polygon, what touches so of a hole is of two holes.
    """
    # In a picture of twice the size, the pixels along an edge at x are at 2x where the mask lies to its right, and at 2x - 1 where
    # it lies to its left: with one added and halved, both are x.
    twice = np.repeat(np.repeat(mask.pixels.view(np.uint8), 2, axis=0), 2, axis=1)
    contours, hierarchy = cv2.findContours(twice, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[-2:]
    rings = [_ring((np.asarray(contour)[:, 0] + 1) // 2 + mask.top_left_xy) for contour in contours]
    parents = np.asarray(hierarchy)[0, :, 3].tolist() if contours else []
    holes: dict[int, list[list[int]]] = {index: [] for index in range(len(rings))}
    for ring, parent in zip(rings, parents, strict=True):
        if parent >= 0:
            holes[parent].append(ring)
    return [[ring, *holes[i]] for i, (ring, parent) in enumerate(zip(rings, parents, strict=True)) if parent < 0]


def _ring(points: npt.NDArray[Any]) -> list[int]:
    """The corners of a closed line of points (N, 2), flat."""
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    corners: list[int] = points[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]].ravel().tolist()
    return corners


def _spans(values: Values, grid: Grid, window: Window) -> bool:
    """Whether the grid's edges are the window's edges, as cv2.resize assumes; it is several times faster."""
    # Plain numbers: with arrays of four this took as long as the resizing itself.
    edges = (0, 0, values.shape[1], values.shape[0])
    placed = (edge * grid.scale_xy[i % 2] + grid.offset_xy[i % 2] for i, edge in enumerate(window))
    return all(abs(got - wanted) <= _HAIR for got, wanted in zip(placed, edges, strict=True))
