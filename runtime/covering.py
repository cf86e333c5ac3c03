"""Parts of a picture made unrecognizable, in place."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgewright.runtime.panoptic import segment_extents
from edgewright.runtime.results import BoolMask, BoxMask, Detections, Image, PanopticMap, Result, SemanticMap

METHODS = ("pixelate", "smooth", "solid")
ClassIds = npt.NDArray[np.int64]
# A map of more specks than these is covered as one area: each by itself would take long, and as one it is covered more strongly.
_MOST_SPECKS = 200
# Beyond the edges of any picture, and whole as a float.
_FAR = 1e6


@dataclass(frozen=True, eq=False)
class Area:
    """A box x1 y1 x2 y2 in pixels, perhaps beyond the edges of the picture; with a `mask` of its size, only that of it."""

    box_xyxy: tuple[int, int, int, int]
    mask: BoolMask | None = None


def areas_of(result: Result, class_ids: ClassIds, *, least_score: float, pad: float, masks: bool) -> Iterator[Area]:
    """Where objects of these classes are, each made larger by `pad` of its size on every side.

    Of instances the boxes, or the `masks` where there are any; of maps the pixels.
    """
    if isinstance(result, Detections):
        chosen = result[np.isin(result.class_ids, class_ids) & (result.scores >= least_score)]
        if masks and chosen.masks is not None:
            yield from (_grown(mask, pad) for mask in chosen.masks if mask.pixels.size)
        else:
            yield from _boxes(chosen, pad)
    elif isinstance(result, SemanticMap):
        yield from _specks(np.isin(result.class_ids, class_ids), pad)
    else:
        yield from _segments(result, class_ids, pad)


def cover(image: Image, area: Area, *, method: str, cells: int) -> None:
    """Leave nothing of the area but the mean colours of at most `cells` squares along its longer side, or black for `solid`."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = area.box_xyxy
    left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    if right <= left or bottom <= top:
        return
    region = image[top:bottom, left:right]
    # A square of one pixel would leave all as it is.
    side = max(max(x2 - x1, y2 - y1) / cells, 2.0)
    covered = np.zeros_like(region) if method == "solid" else _coarse(region, side, smooth=method == "smooth")
    if area.mask is None:
        region[:] = covered
    else:
        inside = area.mask[top - y1 : bottom - y1, left - x1 : right - x1]
        cv2.copyTo(covered, np.ascontiguousarray(inside).view(np.uint8), region)


def _coarse(region: Image, side: float, *, smooth: bool) -> Image:
    height, width = region.shape[:2]
    squares = (max(1, math.floor(width / side)), max(1, math.floor(height / side)))
    small = cv2.resize(region, squares, interpolation=cv2.INTER_AREA)
    how = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(small, (width, height), interpolation=how), np.uint8)


def _boxes(found: Detections, pad: float) -> Iterator[Area]:
    sides = pad * (found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2])
    # What is no number covers the picture rather than nothing.
    low = np.nan_to_num(np.floor(found.boxes_xyxy[:, :2] - sides), nan=-_FAR, posinf=_FAR, neginf=-_FAR)
    high = np.nan_to_num(np.ceil(found.boxes_xyxy[:, 2:] + sides), nan=_FAR, posinf=_FAR, neginf=-_FAR)
    edges = np.concatenate([low, high], axis=1).clip(-_FAR, _FAR).astype(int).tolist()
    yield from (Area((x1, y1, x2, y2)) for x1, y1, x2, y2 in edges)


def _grown(mask: BoxMask, pad: float) -> Area:
    height, width = mask.pixels.shape
    (x, y), more = mask.top_left_xy, math.ceil(pad * max(height, width))
    pixels = np.pad(mask.pixels, more)
    if more:
        # With a square, rows and columns are done one after the other: the cost does not follow the size of the kernel's area.
        kernel = np.ones((2 * more + 1, 2 * more + 1), np.uint8)
        pixels = cv2.dilate(pixels.view(np.uint8), kernel).view(bool)
    return Area((x - more, y - more, x + width + more, y + height + more), pixels)


def _specks(chosen: BoolMask, pad: float) -> Iterator[Area]:
    """The connected parts of a mask of the whole picture."""
    count, parts, boxes, _ = cv2.connectedComponentsWithStats(chosen.view(np.uint8), connectivity=8)
    if count - 1 > _MOST_SPECKS:
        yield Area((0, 0, chosen.shape[1], chosen.shape[0]), chosen)
        return
    for number, (x, y, width, height, _) in enumerate(boxes[1:].tolist(), start=1):
        yield _grown(BoxMask((x, y), parts[y : y + height, x : x + width] == number), pad)


def _segments(found: PanopticMap, class_ids: ClassIds, pad: float) -> Iterator[Area]:
    extents = segment_extents(found)
    wanted = set(class_ids.tolist())
    for segment in found.segments:
        if segment.class_id in wanted and segment.segment_id in extents:
            x1, y1, x2, y2 = extents[segment.segment_id].box_xyxy
            yield _grown(BoxMask((x1, y1), found.segment_ids[y1:y2, x1:x2] == segment.segment_id), pad)
