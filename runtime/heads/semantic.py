"""A class for every pixel: FCN, U-Net, DeepLab."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgewright.runtime.errors import UsageError
from edgewright.runtime.geometry import PlacedImage, Placement
from edgewright.runtime.heads import Outputs, check_finite
from edgewright.runtime.masks import Grid, Window, cells_under, interpolate, nearest, output_grid
from edgewright.runtime.refine import refinement
from edgewright.runtime.results import Image, SemanticMap
from edgewright.runtime.spec import ModelSpec, PostprocessSpec

ROLES = ()
ONE_OF = ("logits", "probability", "class_ids")
TASKS = ("semantic",)

ClassIds = npt.NDArray[np.unsignedinteger[Any]]
Planes = npt.NDArray[np.float32]
# A part of a map in which a class may win: rows, columns.
Part = tuple[slice, slice]

# Refinements were tuned on pictures of PASCAL VOC, whose longer side is 500 px; the time grows with the pixels.
_REFINED_SIDE = 500


def decode(outputs: Outputs, spec: ModelSpec, placement: Placement, settings: PostprocessSpec) -> SemanticMap:
    """The class of every pixel of the source image, from one of three outputs.

    `logits` [1, C, h, w], or probabilities: the largest wins. `probability` [1, 1, h, w] of class 1 against class 0: compared
    with the mask threshold. `class_ids` [1, h, w]; an id outside the labels belongs to no class.
    """
    size_hw = placement.source_hw
    ((role, output),) = outputs.items()
    values = output.reshape(-1, *output.shape[-2:])
    grid = output_grid(placement, spec.preprocess.size_hw, values.shape[-2:])
    if role == "class_ids":
        return SemanticMap(nearest(values[0].astype(_id_type(len(spec.labels))), grid, size_hw))
    window = (0, 0, size_hw[1], size_hw[0])
    # A letterbox leaves cells around the image that say nothing about it.
    x1, y1, x2, y2 = cells_under(window, grid, values.shape[-2:])
    planes, grid = np.asarray(values[:, y1:y2, x1:x2], np.float32), grid.shifted((x1, y1))
    check_finite(planes, role)
    if settings.refine is not None:
        planes, grid = _refined(planes, grid, role, placement, settings.refine)
    if role == "probability":
        return SemanticMap((interpolate(planes[-1], grid, window) >= settings.mask_threshold).astype(np.uint8))
    return SemanticMap(_strongest_at_pixels(planes, grid, window))


def _refined(planes: Planes, grid: Grid, role: str, placement: Placement, name: str) -> tuple[Planes, Grid]:
    """The probabilities of all classes after a refinement, and their grid over the image."""
    if not isinstance(placement, PlacedImage):
        raise UsageError(f"refinement '{name}' looks at the image; run the network through a Predictor")
    (height, width), small = placement.source_hw, _at_most(placement.image, _REFINED_SIDE)
    shrunk = (small.shape[1] / width, small.shape[0] / height)
    scale = (grid.scale_xy[0] / shrunk[0], grid.scale_xy[1] / shrunk[1])
    window = (0, 0, small.shape[1], small.shape[0])
    values = np.stack([interpolate(plane, Grid(scale, grid.offset_xy), window) for plane in planes])
    if role == "probability":
        values = np.concatenate([1 - values, values])
    return refinement(name)(_probabilities(values), small), Grid(shrunk, (0.0, 0.0))


def _at_most(image: Image, longest: int) -> Image:
    height, width = image.shape[:2]
    ratio = min(1.0, longest / max(height, width))
    size = (max(round(width * ratio), 1), max(round(height * ratio), 1))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _probabilities(values: Planes) -> Planes:
    """The softmax of logits (C, h, w); what adds up to 1 everywhere is taken for the probabilities that it is."""
    if values.min() >= 0 and np.allclose(values.sum(axis=0), 1, atol=1e-2):
        return values
    raised = np.exp(values - values.max(axis=0))
    return np.asarray(raised / raised.sum(axis=0), np.float32)


def _strongest_at_pixels(planes: Planes, grid: Grid, window: Window) -> ClassIds:
    """The class with the largest interpolated value at every pixel of `window`.

    Interpolated values, not interpolated classes: on CamVid, with a map of 1/4 and 1/8 of the image's size, that is worth
    0.5 and 1.9 points of mIoU. Only classes that win in some cell take part, around their cells: no pixel of CamVid changes
    its class by that, and most pictures show few of the classes that a network knows.
    """
    coarse = _strongest(planes)
    h, w = window[3] - window[1], window[2] - window[0]
    if coarse.shape == (h, w):
        return coarse
    (first, _), *others = _parts(coarse, grid, (h, w))
    best, values = interpolate(planes[first], grid, window), np.empty((h, w), np.float32)
    ids = np.full_like(coarse, first, shape=(h, w))
    for class_id, part in others:
        _compete(interpolate(planes[class_id], grid, window, out=values)[part], class_id, best[part], ids[part])
    return ids


def _strongest(planes: Planes) -> ClassIds:
    """The index of the largest value of (C, h, w) along the first axis, the first of equals: np.argmax, which takes 14 times
    as long along this axis."""
    ids = np.zeros(planes.shape[1:], _id_type(len(planes)))
    best = planes[0].copy()
    for class_id in range(1, len(planes)):
        _compete(planes[class_id], class_id, best, ids)
    return ids


def _compete(values: Planes, class_id: int, best: Planes, ids: ClassIds) -> None:
    """Where `values` exceed `best`, they take its place and `ids` becomes `class_id`."""
    # NumPy needs ten times as long for these on a part of a larger array.
    wins = cv2.compare(values, best, cv2.CMP_GT)
    cv2.max(values, best, dst=best)
    cv2.copyTo(np.full_like(ids, class_id), wins, ids)


def _parts(coarse: ClassIds, grid: Grid, size_hw: tuple[int, int]) -> list[tuple[int, Part]]:
    """The classes of a map, the most frequent one first, each with the pixels that its cells have a say in."""
    cells = np.bincount(coarse.ravel())
    parts = []
    for class_id in sorted(np.flatnonzero(cells).tolist(), key=lambda k: -int(cells[k])):
        left, top, width, height = cv2.boundingRect((coarse == class_id).view(np.uint8))
        columns = _reach(left, left + width, grid.scale_xy[0], grid.offset_xy[0], size_hw[1])
        rows = _reach(top, top + height, grid.scale_xy[1], grid.offset_xy[1], size_hw[0])
        parts.append((class_id, (rows, columns)))
    return parts


def _reach(first: int, last: int, scale: float, offset: float, pixels: int) -> slice:
    # Interpolation carries the value of a cell half a cell beyond its edges.
    low, high = (first - 0.5 - offset) / scale, (last + 0.5 - offset) / scale
    return slice(max(int(np.floor(low)), 0), min(int(np.ceil(high)), pixels))


def _id_type(labels: int) -> type[np.unsignedinteger[Any]]:
    """The smallest type that holds every class id, and one id more for what belongs to no class."""
    return np.uint8 if labels < 256 else np.uint16
