"""Where belt units lie in the picture, and rectangles of pixels."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Rect:
    """Pixels from (left, top) up to, not including, (right, bottom); it may reach beyond the picture."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def is_empty(self) -> bool:
        return self.right <= self.left or self.bottom <= self.top

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.right - self.left, self.bottom - self.top

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns; for a rectangle inside the picture."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def grown(self, margin: int) -> "Rect":
        return Rect(self.left - margin, self.top - margin, self.right + margin, self.bottom + margin)

    def moved(self, dx: int, dy: int) -> "Rect":
        return Rect(self.left + dx, self.top + dy, self.right + dx, self.bottom + dy)

    def cut(self, other: "Rect") -> "Rect":
        """What lies in both; empty when they do not meet."""
        return Rect(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )


def around(x: float, y: float, reach: float) -> Rect:
    """All pixels within `reach` of a point."""
    return Rect(int(np.floor(x - reach)), int(np.floor(y - reach)), int(np.ceil(x + reach)), int(np.ceil(y + reach)))


@dataclass(frozen=True)
class View:
    """How belt units map to a picture of `size_hw`: `scale` pixels per unit, turned by `heading`, the place `position`
    along and `aside` across the belt in the middle of the picture but for the shake."""

    size_hw: tuple[int, int]
    scale: float
    heading: float
    position: float
    aside: float
    shake_xy: tuple[float, float]

    @property
    def frame(self) -> Rect:
        """The whole picture."""
        return Rect(0, 0, self.size_hw[1], self.size_hw[0])

    @property
    def middle_xy(self) -> tuple[float, float]:
        return self.size_hw[1] / 2 + self.shake_xy[0], self.size_hw[0] / 2 + self.shake_xy[1]

    @property
    def reach(self) -> float:
        """Units from the middle to a corner of the picture."""
        return float(np.hypot(*self.size_hw) / 2 / self.scale) + 8

    def to_pixels(self, along: float, across: float) -> tuple[float, float]:
        """The place of a point of the belt in the picture, x and y."""
        cos, sin = np.cos(self.heading) * self.scale, np.sin(self.heading) * self.scale
        x, y, (middle_x, middle_y) = along - self.position, across - self.aside, self.middle_xy
        return float(middle_x + cos * x - sin * y), float(middle_y + sin * x + cos * y)
