"""Endless surfaces: the weave and wear of belts, and the grain of a sensor; each tile is drawn once and kept."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.random import Generator

from edgewright.runtime.conveyor.outlines import Field, grid, to_bytes
from edgewright.runtime.results import Image

BELTS = ("rubber", "weave", "studs", "chevrons", "links", "mesh", "worn")
# The side of a belt tile in belt units, and in pixels at level 0; every pattern's pitch divides it, so that tiles join
# without a seam.
TILE_UNITS = 640
# The side of the grain tile in pixels.
GRAIN_PX = 1024


@lru_cache(maxsize=32)
def belt_tiles(belt: str, level: int) -> Image:
    """Three by three tiles of the brightness of one belt, uint8, 128 on average, x along the travel; each level halves
    the size. An ordinary picture fits between the borders, where OpenCV is many times faster than across them."""
    return np.tile(_belt_tile(belt, level), (3, 3))


def _belt_tile(belt: str, level: int) -> Image:
    if level > 0:
        finer = _belt_tile(belt, level - 1)
        half = finer.shape[0] // 2
        return np.asarray(cv2.resize(finer, (half, half), interpolation=cv2.INTER_AREA), np.uint8)
    rng = np.random.default_rng([0xBE17, BELTS.index(belt)])
    pattern = _emboss(_pattern(belt)) * 26
    grain = _noise(rng, 0.7) * 9 + _noise(rng, 2.5) * 7
    wear = _noise(rng, 40) * 9 + _streaks(rng) * 8
    return to_bytes(128 + pattern + grain + wear)


@lru_cache(maxsize=1)
def grain_tile() -> Image:
    """Noise (S, S, 3) uint8 around 128 with a standard deviation of 32, partly shared by the channels."""
    rng = np.random.default_rng(0x6A1)
    shared = rng.standard_normal((GRAIN_PX, GRAIN_PX), dtype=np.float32)
    own = [cv2.blur(rng.standard_normal((GRAIN_PX, GRAIN_PX), dtype=np.float32), (2, 2)) * 2 for _ in range(3)]
    noise = np.stack([shared + channel for channel in own], axis=2)
    return to_bytes(128 + noise * (32 * np.sqrt(0.5)))


def _pattern(belt: str) -> Field:
    """The height of the belt's surface, in units."""
    x, y = (axis * (TILE_UNITS / 2) for axis in grid(TILE_UNITS))
    if belt == "weave":
        return np.asarray(1.5 * np.sin(x * (2 * np.pi / 4)) * np.sin(y * (2 * np.pi / 5)), np.float32)
    if belt == "studs":
        bumps = np.cos(x * (2 * np.pi / 20)) + np.cos(y * (2 * np.pi / 20))
        return np.asarray(np.clip(bumps - 0.6, 0, 0.9) * 5, np.float32)
    if belt == "chevrons":
        return np.asarray(np.clip(np.cos((x + np.abs(y) * 0.6) * (2 * np.pi / 64)) * 8 - 5, 0, 2), np.float32)
    if belt == "links":
        column = np.abs((x + 20 * (np.floor(y / 80) % 2)) % 40 - 20)
        row = np.abs(y % 80 - 40)
        return np.asarray(np.clip(np.minimum(20 - column, 40 - row), 0, 3) * 1.5, np.float32)
    if belt == "mesh":
        holes = np.hypot((x % 32) - 16, (y % 32) - 16)
        return np.asarray(np.clip(holes - 8, -2, 2) * 1.5, np.float32)
    return np.zeros_like(x)


def _emboss(height: Field) -> Field:
    """The height lit from one side, hollows darker; standard deviation at most about 1."""
    slope = np.roll(height, 1, axis=0) - np.roll(height, -1, axis=0) + np.roll(height, 1, axis=1) * 0.6
    slope = slope - np.roll(height, -1, axis=1) * 0.6
    hollow = height - height.mean()
    return np.asarray(np.clip(slope * 0.35 + hollow * 0.35, -1.6, 1.6))


def _noise(rng: Generator, sigma: float) -> Field:
    """Smooth noise with unit deviation that joins at its borders."""
    # Drawn coarsely where it is very smooth; a power of two divides the tile.
    shrink = 1 << max(0, int(np.log2(sigma / 4)))
    size, sigma = TILE_UNITS // shrink, sigma / shrink
    pad = int(4 * sigma) + 2
    tile = rng.standard_normal((size, size), dtype=np.float32)
    wide = cv2.copyMakeBorder(tile, pad, pad, pad, pad, cv2.BORDER_WRAP)
    wide = cv2.GaussianBlur(wide, (0, 0), sigma)
    full = cv2.resize(wide, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_LINEAR)
    full = full[pad * shrink : pad * shrink + TILE_UNITS, pad * shrink : pad * shrink + TILE_UNITS]
    return np.asarray(full / full.std(), np.float32)


def _streaks(rng: Generator) -> Field:
    """Wear along the travel: lanes that every part has rubbed."""
    lanes = rng.standard_normal(TILE_UNITS).astype(np.float32)
    lanes = np.sum([np.roll(lanes, shift) for shift in range(-3, 4)], axis=0)
    return np.asarray(np.broadcast_to((lanes / lanes.std())[:, None], (TILE_UNITS, TILE_UNITS)) + _noise(rng, 12) * 0.5)
