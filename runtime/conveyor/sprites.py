"""Reliefs as small pictures that are turned, scaled and shaded quickly; each is drawn once and kept."""

from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

import cv2
import numpy as np

from edgewright.runtime.conveyor.outlines import Field, Relief, grid, to_bytes
from edgewright.runtime.conveyor.parts import PARTS
from edgewright.runtime.conveyor.rubbish import MARKS, THINGS
from edgewright.runtime.results import Image

VARIANTS = 12
_SIZES = (32, 64, 128, 256, 512)
# Drawn at this size at least and averaged down, so that a thread finer than a pixel becomes grey and not moiré.
_DRAWN_SIZE = 256
# Steeper slopes look alike, and the step of a vertical wall has no slope at all.
_STEEPEST = 3.0

SLOPE_X, SLOPE_Y, OPACITY, TONE = range(4)
# What lies outside of a sprite: level, transparent, bright.
OUTSIDE = (128, 128, 0, 255)


@dataclass(frozen=True, eq=False)
class Sprite:
    """`layers` (S, S, 4) uint8: the normal's x and y as 128 + 127 n, opacity, tone. `fill` is the solid fraction of the
    square; `rise` the greatest height in sides of the square."""

    layers: Image
    fill: float
    rise: float


def sprite_for(kind: str, variant: int, side_px: float) -> Sprite:
    """The sprite of a kind and variant that is just larger than its picture of `side_px`, if there is one."""
    size = next((size for size in _SIZES if size >= side_px), _SIZES[-1])
    return _sprite(kind, variant, size)


@lru_cache(maxsize=1024)
def _sprite(kind: str, variant: int, size: int) -> Sprite:
    if size < _DRAWN_SIZE:
        finer = _sprite(kind, variant, _DRAWN_SIZE)
        smaller = cv2.resize(finer.layers, (size, size), interpolation=cv2.INTER_AREA)
        return Sprite(np.asarray(smaller, np.uint8), finer.fill, finer.rise)
    relief, wear = _drawn(kind, variant, size)
    opacity = np.clip(0.5 - relief.distance * (size / 2), 0, 1)
    layers = np.stack([*_normal(relief, size), to_bytes(opacity * 255), to_bytes(_tone(relief, wear) * 255)], axis=2)
    solid = layers[:, :, OPACITY] >= 128
    return Sprite(layers, float(solid.mean()), float(relief.height[solid].max(initial=0.0)) / 2)


def _drawn(kind: str, variant: int, size: int) -> tuple[Relief, Field]:
    """The relief and its wear (S, S) in [0, 1]; a finer grid shows the same object."""
    shape = {**PARTS, **THINGS, **MARKS}[kind]
    rng = np.random.default_rng([crc32(kind.encode()), variant])
    relief = shape(rng, *grid(size))
    coarse = rng.random((12, 12), dtype=np.float32) + rng.random((12, 12), dtype=np.float32) * 0.5
    fine = rng.random((64, 64), dtype=np.float32)
    patches = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    grain = cv2.resize(fine, (size, size), interpolation=cv2.INTER_LINEAR)
    return relief, np.clip((patches - 0.6) * 0.8 + (grain - 0.5) * 0.4, 0, 1)


def _normal(relief: Relief, size: int) -> tuple[Image, Image]:
    step = size / 4
    slope_x = cv2.Sobel(relief.height, cv2.CV_32F, 1, 0, ksize=3, scale=step / 4)
    slope_y = cv2.Sobel(relief.height, cv2.CV_32F, 0, 1, ksize=3, scale=step / 4)
    slope_x, slope_y = np.clip(slope_x, -_STEEPEST, _STEEPEST), np.clip(slope_y, -_STEEPEST, _STEEPEST)
    length = np.sqrt(1 + slope_x * slope_x + slope_y * slope_y)
    return to_bytes(128 - 127 * slope_x / length), to_bytes(128 - 127 * slope_y / length)


def _tone(relief: Relief, wear: Field) -> Field:
    """The given tone, darker where dirt gathers: in hollows and in worn patches."""
    around = cv2.blur(relief.height, (9, 9))
    hollow = np.clip((around - relief.height) * 3, 0, 0.4)
    return np.asarray(relief.tone * (1 - hollow) * (1 - 0.5 * wear), np.float32)
