"""How a thing looks where it lies: its sprite turned and scaled, its surface under the light, its shadow."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgewright.runtime.conveyor.light import SHEEN_PX
from edgewright.runtime.conveyor.outlines import Field
from edgewright.runtime.conveyor.sprites import OPACITY, OUTSIDE, SLOPE_X, SLOPE_Y, TONE, Sprite
from edgewright.runtime.conveyor.view import Rect, around

Layers = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Pose:
    """The middle of a thing, the side of its square in pixels, its turn in the picture, and how flat it is squeezed."""

    middle_xy: tuple[float, float]
    side: float
    turn: float
    squeeze: float


def placed(sprite: Sprite, pose: Pose, within: Rect) -> tuple[Rect, Layers]:
    """The tight rectangle of a sprite's pixels inside `within`, and its layers (h, w, 4) there."""
    rect = around(*pose.middle_xy, pose.side * 0.71 + 1).cut(within)
    if rect.is_empty:
        return rect, np.zeros((0, 0, 4), np.uint8)
    size = sprite.layers.shape[0]
    cos, sin = np.cos(pose.turn) * size / pose.side, np.sin(pose.turn) * size / pose.side
    rows = np.array([[cos, sin], [-sin / pose.squeeze, cos / pose.squeeze]])
    # Pixel centres lie at .5 in the picture and at whole numbers for warpAffine.
    origin = np.array([pose.middle_xy[0] - rect.left - 0.5, pose.middle_xy[1] - rect.top - 0.5])
    matrix = np.column_stack([rows, (size - 1) / 2 - rows @ origin])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    layers = cv2.warpAffine(sprite.layers, matrix, rect.size_wh, flags=flags, borderValue=OUTSIDE)
    left, top, width, height = cv2.boundingRect(np.ascontiguousarray(layers[:, :, OPACITY]))
    tight = Rect(rect.left + left, rect.top + top, rect.left + left + width, rect.top + top + height)
    return tight, np.asarray(layers[top : top + height, left : left + width], np.uint8)


def surface(layers: Layers, turn: float, sheen: Field, grime: float) -> Field:
    """The colour (h, w, 3) of a turned surface under the light that the sheen was made for."""
    nx, ny = cv2.extractChannel(layers, SLOPE_X), cv2.extractChannel(layers, SLOPE_Y)
    # 127 units of a layer are a whole normal; the sheen spans it from -1 to 1, its middle pixel is level ground.
    step, middle = SHEEN_PX / 2 / 127, (SHEEN_PX - 1) / 2
    cos, sin = np.cos(turn) * step, np.sin(turn) * step
    look_x = cv2.addWeighted(nx, cos, ny, -sin, middle - 128 * (cos - sin), dtype=cv2.CV_32F)
    look_y = cv2.addWeighted(nx, sin, ny, cos, middle - 128 * (sin + cos), dtype=cv2.CV_32F)
    color = cv2.remap(sheen, look_x, look_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    # Dirt and rust take more of the blue than of the red.
    taken = np.array([1.0, 0.9, 0.75]) * (0.35 + 0.65 * grime)
    table = (1 + (np.arange(256)[:, None] / 255 - 1) * taken).astype(np.float32)[None]
    dirt = cv2.LUT(cv2.cvtColor(cv2.extractChannel(layers, TONE), cv2.COLOR_GRAY2BGR), table)
    return np.asarray(cv2.multiply(color, dirt, dst=color))


def shadow(
    rect: Rect, opacity: npt.NDArray[np.uint8], shift_xy: tuple[float, float]
) -> tuple[Rect, npt.NDArray[np.uint8]]:
    """The shadow of a silhouette whose top is thrown by `shift_xy` pixels: where it falls and how dark (h, w) it is."""
    length = float(np.hypot(*shift_xy))
    softness = 1 + int(0.3 * length)
    steps = [(round(shift_xy[0] * share), round(shift_xy[1] * share)) for share in (0.0, 0.5, 1.0)]
    far = rect.moved(*steps[-1])
    span = Rect(
        min(rect.left, far.left), min(rect.top, far.top), max(rect.right, far.right), max(rect.bottom, far.bottom)
    )
    span = span.grown(2 * softness)
    dark = np.zeros(span.size_wh[::-1], np.uint8)
    for step in steps:
        target = dark[rect.moved(step[0] - span.left, step[1] - span.top).slices]
        np.maximum(target, opacity, out=target)
    # Two box filters are near enough to a Gaussian and cost the same for every width.
    kernel = (2 * softness + 1, 2 * softness + 1)
    return span, np.asarray(cv2.blur(cv2.blur(dark, kernel), kernel), np.uint8)
