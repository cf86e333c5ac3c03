"""What does not move with the belt: its rails and the floor beside them, and arms and cables near the lens."""

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from edgewright.runtime.conveyor.canvas import Canvas
from edgewright.runtime.conveyor.layout import Line
from edgewright.runtime.conveyor.light import drift
from edgewright.runtime.conveyor.view import View

Corners = npt.NDArray[np.float64]


def cover_sides(canvas: Canvas, line: Line, view: View) -> None:
    """Paint the rails along both sides of the belt and the dark floor behind them."""
    width = 10 + 26 * line.rail_color
    shades = ((0.0, width, 0.8), (width * 0.15, width * 0.5, 1.5), (width, 2000.0, 0.06 / line.rail_color))
    for side in (-1, 1):
        for near, far, shade in shades:
            color = np.full(3, line.rail_color * shade, np.float32)
            canvas.cover(_band(view, side * (line.half_width + near), side * (line.half_width + far)), color, 0.0)


def cover_front(canvas: Canvas, rng: Generator, view: View, time_s: float) -> None:
    """Paint what hangs between lens and belt, if anything does: a bar, a finger of a gripper, a cable."""
    if rng.random() > 0.35:
        return
    for _ in range(int(rng.integers(1, 3))):
        sway = drift(rng, 3, 30)
        middle = rng.uniform(-0.5, 0.5, 2) + 0.12 * rng.random() * np.array([sway(time_s), sway(time_s + 2)])
        angle, width = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(8), np.log(60)))
        start = -0.1 if rng.random() < 0.5 else -2.0
        color = np.asarray(rng.choice([0.05, 0.12, 0.3, 0.5]) * rng.uniform(0.85, 1.15, 3), np.float32)
        corners = _bar(view, middle, angle, (start, 2.0), width)
        canvas.cover(corners, color, rng.uniform(1, 7) * view.scale)


def _band(view: View, near: float, far: float) -> Corners:
    ends = (view.position - 2 * view.reach, view.position + 2 * view.reach)
    return np.array(
        [
            view.to_pixels(along, across)
            for along, across in ((ends[0], near), (ends[1], near), (ends[1], far), (ends[0], far))
        ]
    )


def _bar(view: View, middle: npt.NDArray[np.float64], angle: float, ends: tuple[float, float], width: float) -> Corners:
    """A bar of `width` units through a place given in picture sizes, reaching so many picture widths each way."""
    h, w = view.size_hw
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    centre = (middle + 0.5) * (w, h)
    half = across * width / 2 * view.scale
    first, last = centre + along * ends[0] * w, centre + along * ends[1] * w
    return np.array([first - half, last - half, last + half, first + half])
