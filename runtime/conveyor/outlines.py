"""Signed distances to simple outlines on a square grid, and the heights of surfaces over them.

Coordinates run from -1 to 1 over the square; every length is in halves of its side; inside is negative.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.floating[Any]]
Path = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Relief:
    """A thing on a square grid: `distance` to its outline and `height` over the belt, both (S, S) in halves of the
    side; `tone` is the brightness of its surface, 1 where nothing is printed, engraved or hidden from the light."""

    distance: Field
    height: Field
    tone: Field


def relief(distance: npt.ArrayLike, height: npt.ArrayLike, tone: npt.ArrayLike = 1.0) -> Relief:
    """The relief with all three fields as float32 of one shape."""
    outline = np.asarray(distance, np.float32)
    return Relief(outline, np.asarray(height, np.float32), np.broadcast_to(np.asarray(tone, np.float32), outline.shape))


def grid(size: int) -> tuple[Field, Field]:
    """x and y (size, size) at the pixel centres."""
    axis = ((np.arange(size) + 0.5) * (2 / size) - 1).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    return x, y


def prism(x: Field, y: Field, *, sides: int, apothem: float) -> Field:
    """A regular polygon with its first edge to the right."""
    angles = np.arange(sides) * (2 * np.pi / sides)
    edges = [x * np.float32(np.cos(a)) + y * np.float32(np.sin(a)) for a in angles]
    return np.asarray(np.max(edges, axis=0) - apothem, np.float32)


def box(x: Field, y: Field, left: float, top: float, right: float, bottom: float) -> Field:
    """A rectangle with sharp corners; outside of the corners the distance is a lower bound."""
    return np.asarray(np.maximum(np.maximum(left - x, x - right), np.maximum(top - y, y - bottom)), np.float32)


def discs(x: Field, y: Field, centres: Sequence[tuple[float, float]], radius: float) -> Field:
    """The union of discs of one radius."""
    return np.asarray(np.min([np.hypot(x - cx, y - cy) for cx, cy in centres], axis=0) - radius, np.float32)


def ring_of_points(count: int, reach: float) -> list[tuple[float, float]]:
    """`count` points spread evenly over a circle."""
    return [(reach * np.cos(a), reach * np.sin(a)) for a in np.arange(count) * (2 * np.pi / count)]


def wire(x: Field, paths: Sequence[Path], radius: float) -> Field:
    """A round wire along polylines of (x, y) rows; one where there is no path at all is infinitely far."""
    size = x.shape[0]
    canvas = np.full((size, size), 255, np.uint8)
    for path in paths:
        pixels = np.rint((path + 1) * (size / 2) - 0.5).astype(np.int32)
        cv2.polylines(canvas, [pixels.reshape(-1, 1, 2)], False, 0)
    if not paths:
        return np.full_like(x, np.inf)
    # The blur takes the steps of the drawn line out of the distance.
    distance = cv2.GaussianBlur(cv2.distanceTransform(canvas, cv2.DIST_L2, 5), (0, 0), size / 170)
    return np.asarray(distance * (2 / size) - radius, np.float32)


def plate(distance: Field, thickness: float, bevel: float) -> Field:
    """The height of a plate whose edge is rounded over the width `bevel`."""
    edge = 1 - np.clip(-distance / bevel, 0, 1)
    return np.asarray(thickness * (1 - edge * edge), np.float32)


def barrel(offset: Field, radius: npt.ArrayLike) -> Field:
    """The height of a lying cylinder over its axis, by the offset from the axis."""
    reach = np.asarray(radius, np.float32)
    return np.asarray(np.sqrt(np.clip(reach * reach - offset * offset, 0, None)))


def bead(distance: Field, radius: float) -> Field:
    """The height of a round wire over its centre line, by the signed distance to its outline."""
    return barrel(np.clip(distance + radius, 0, radius), radius)


def ramp(value: Field, width: float) -> Field:
    """0 where the value is below 0, 1 where it is above `width`, straight between."""
    return np.asarray(np.clip(value / width, 0, 1))


def to_bytes(values: Field) -> npt.NDArray[np.uint8]:
    """The values rounded and cut to 0..255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
