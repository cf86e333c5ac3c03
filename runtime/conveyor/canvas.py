"""Painting: the belt, the things on it with their shadows, and what hangs in front of them."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgewright.runtime.conveyor.layout import Line, Thing
from edgewright.runtime.conveyor.light import Light
from edgewright.runtime.conveyor.outlines import Field
from edgewright.runtime.conveyor.rubbish import MARKS
from edgewright.runtime.conveyor.shading import Pose, placed, shadow, surface
from edgewright.runtime.conveyor.sprites import OPACITY, sprite_for
from edgewright.runtime.conveyor.surfaces import TILE_UNITS, belt_tiles
from edgewright.runtime.conveyor.view import Rect, View

_SHADOW_DEPTH = 0.6
# How much of the belt a mark on it hides.
_STRENGTH = {"sticker": 0.95, "stain": 0.75, "scratch": 0.4}


@dataclass(frozen=True)
class Laid:
    """A thing that was painted: its kind, the pixels it touched, and how many its whole outline would cover."""

    kind: str
    rect: Rect
    whole_px: float


class Canvas:
    """A picture being painted: `color` (H, W, 3) float32 reflectance BGR; `laid` things in order; `owner` (H, W) int32:
    whose surface is seen, counting from 1 in the order of `laid`, 0 for nobody's."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.color: Field = np.zeros((*view.size_hw, 3), np.float32)
        self.laid: list[Laid] = []
        self.owner: npt.NDArray[np.int32] = np.zeros(view.size_hw, np.int32)

    def paint_belt(self, line: Line) -> None:
        """Cover the whole picture with the belt."""
        view = self.view
        tile = belt_tiles(line.belt, int(np.clip(np.floor(np.log2(1 / view.scale)), 0, 4)))
        texels = tile.shape[0] / (3 * TILE_UNITS)
        cos, sin = np.cos(view.heading) / view.scale * texels, np.sin(view.heading) / view.scale * texels
        rows = np.array([[cos, sin], [-sin, cos]])
        middle = np.array([view.position % TILE_UNITS, view.aside % TILE_UNITS]) + TILE_UNITS
        matrix = np.column_stack([rows, middle * texels - 0.5 - rows @ (np.array(view.middle_xy) - 0.5)])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        grey = cv2.warpAffine(tile, matrix, view.size_hw[::-1], flags=flags, borderMode=cv2.BORDER_WRAP)
        levels = 1 + (np.arange(256) / 128 - 1) * line.belt_contrast
        table = (levels[None, :, None] * np.array(line.belt_color)).astype(np.float32)
        self.color = np.asarray(cv2.LUT(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), table))

    def lay(self, thing: Thing, light: Light, sheens: dict[str, Field]) -> None:
        """Paint a thing and its shadow over what is there, if it is in the picture at all."""
        side = thing.side * self.view.scale
        sprite = sprite_for(thing.kind, thing.variant, side)
        thrown = min(sprite.rise * side / np.tan(light.elevation), side)
        turn = self.view.heading + thing.turn
        pose = Pose(self.view.to_pixels(thing.along, thing.across), side, turn, thing.squeeze)
        # A thing just outside still throws its shadow into the picture.
        rect, layers = placed(sprite, pose, self.view.frame.grown(int(thrown * 1.6) + 4))
        if rect.is_empty:
            return
        if thing.kind not in MARKS:
            shift = (-np.cos(light.azimuth) * thrown, -np.sin(light.azimuth) * thrown)
            self._darken(*shadow(rect, layers[:, :, OPACITY], shift))
        seen = rect.cut(self.view.frame)
        if seen.is_empty:
            return
        layers = layers[seen.moved(-rect.left, -rect.top).slices]
        shaded = surface(layers, turn, sheens[thing.material], thing.grime)
        _mix(self.color[seen.slices], shaded, layers[:, :, OPACITY], _STRENGTH.get(thing.kind, 1.0))
        if thing.kind not in MARKS:
            self.laid.append(Laid(thing.kind, seen, sprite.fill * side * side * thing.squeeze))
            self.owner[seen.slices][layers[:, :, OPACITY] >= 128] = len(self.laid)

    def cover(self, corners: npt.NDArray[np.float64], color: Field, blur_px: float) -> None:
        """Paint a polygon (N, 2) of one colour in front of everything; what lies behind it is hidden."""
        (left, top), (right, bottom) = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
        wide = Rect(int(left), int(top), int(right), int(bottom)).grown(int(3 * blur_px) + 2)
        rect = wide.cut(self.view.frame)
        if rect.is_empty:
            return
        mask = np.zeros(rect.size_wh[::-1], np.uint8)
        points = np.rint((corners - (rect.left, rect.top)) * 16).astype(np.int32)
        cv2.fillPoly(mask, [points], 255, lineType=cv2.LINE_AA, shift=4)
        if blur_px > 0.5:
            kernel = (2 * int(blur_px) + 1, 2 * int(blur_px) + 1)
            mask = cv2.blur(cv2.blur(mask, kernel, borderType=cv2.BORDER_REPLICATE), kernel)
        weight, levels = cv2.cvtColor(mask, cv2.COLOR_GRAY2BGR), np.linspace(0, 1, 256, dtype=np.float32)
        region = self.color[rect.slices]
        region *= cv2.LUT(weight, 1 - levels)
        region += cv2.LUT(weight, levels[None, :, None] * color)
        self.owner[rect.slices][mask >= 128] = 0

    def _darken(self, rect: Rect, dark: npt.NDArray[np.uint8]) -> None:
        seen = rect.cut(self.view.frame)
        if seen.is_empty:
            return
        region, dark = self.color[seen.slices], dark[seen.moved(-rect.left, -rect.top).slices]
        table = (1 - np.arange(256) * (_SHADOW_DEPTH / 255)).astype(np.float32)
        region *= cv2.LUT(cv2.cvtColor(dark, cv2.COLOR_GRAY2BGR), table)


def _mix(region: Field, color: Field, opacity: npt.NDArray[np.uint8], strength: float) -> None:
    """Move `region` towards `color` in place."""
    table = (np.arange(256) * (strength / 255)).astype(np.float32)
    weight = cv2.LUT(cv2.cvtColor(np.ascontiguousarray(opacity), cv2.COLOR_GRAY2BGR), table)
    difference = np.subtract(color, region)
    region += np.multiply(difference, weight, out=difference)
