"""Overlapping masks become a panoptic map: every pixel belongs to one segment, or to none."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgewright.runtime.results import BoolMask, BoxMask, Detections, PanopticMap, Segment

Probabilities = npt.NDArray[np.float32]
Areas = npt.NDArray[np.int64]


def claim_pixels(
    masks: Iterable[Probabilities],
    queries: Sequence[Segment],
    size_hw: tuple[int, int],
    *,
    mask_threshold: float,
    overlap_threshold: float,
    stuff_area: float,
) -> PanopticMap:
    """The map in which every pixel of an image of `size_hw` goes to the query whose mask, times its score, is the largest.

    As Mask2Former does: a query stays when the pixels that it wins are more than the share `overlap_threshold` of those that
    its mask covers, and has the pixels that are both won and covered. Stuff of one class becomes one segment with the best
    score of its parts; it is left out below the share `stuff_area` of the image. `masks` give the probabilities (H, W) of the
    queries one by one: they take much memory. Only the class, kind and score of a query matter.
    """
    best = np.full(size_hw, -1, np.float32)
    # Query k is k + 1 here; 0 is nobody.
    winner, covered = np.zeros(size_hw, np.uint16), np.zeros(size_hw, np.uint8)
    mask_areas = []
    for number, (query, mask) in enumerate(zip(queries, masks, strict=True), start=1):
        inside = (mask >= mask_threshold).view(np.uint8)
        mask_areas.append(cv2.countNonZero(inside))
        weighted = mask * np.float32(query.score or 0)
        wins = cv2.compare(weighted, best, cv2.CMP_GT)
        cv2.copyTo(weighted, wins, best)
        cv2.copyTo(np.full_like(winner, number), wins, winner)
        cv2.copyTo(inside, wins, covered)
    claimed = winner * covered
    won, areas = (np.bincount(ids.ravel(), minlength=len(queries) + 1)[1:] for ids in (winner, claimed))
    stays = (areas > 0) & (won > overlap_threshold * np.array(mask_areas, np.float64))
    table, segments = _numbered(queries, stays, areas, stuff_area * winner.size)
    return PanopticMap(table[claimed], segments)


def _numbered(
    queries: Sequence[Segment], stays: BoolMask, areas: Areas, least_stuff: float
) -> tuple[npt.NDArray[np.int32], tuple[Segment, ...]]:
    """The segment of every query, 0 first for nobody, and the segments, numbered from 1 in the order of the queries."""
    stuff_areas: dict[int, int] = {}
    for query, stay, area in zip(queries, stays, areas, strict=True):
        if stay and not query.is_thing:
            stuff_areas[query.class_id] = stuff_areas.get(query.class_id, 0) + int(area)
    table = np.zeros(len(queries) + 1, np.int32)
    segments: list[Segment] = []
    stuff: dict[int, int] = {}
    for index, (query, stay) in enumerate(zip(queries, stays, strict=True)):
        if not stay or (not query.is_thing and stuff_areas[query.class_id] < least_stuff):
            continue
        number = len(segments) + 1 if query.is_thing else stuff.setdefault(query.class_id, len(segments) + 1)
        if number > len(segments):
            segments.append(replace(query, segment_id=number))
        elif (query.score or 0) > (segments[number - 1].score or 0):
            segments[number - 1] = replace(query, segment_id=number)
        table[index + 1] = number
    return table, tuple(segments)


def fuse(
    things: Detections, stuff_ids: npt.NDArray[np.integer[Any]], *, overlap_threshold: float, stuff_area: float
) -> PanopticMap:
    """The map of an instance and a semantic network: objects first, the surest first; stuff has what they leave.

    `stuff_ids` (H, W) are class ids, negative where a pixel is no stuff. As in "Panoptic Segmentation" (Kirillov et al. 2019)
    and Panoptic FPN: an object of which others leave less than the share `overlap_threshold` is dropped, and so is a class of
    stuff that has less than the share `stuff_area` of the image.
    """
    segment_ids = np.zeros(stuff_ids.shape, np.int32)
    segments: list[Segment] = []
    masks = things.masks or ()
    for index in np.argsort(-things.scores, kind="stable").tolist():
        region, pixels = _under(masks[index], segment_ids)
        free = pixels & (region == 0)
        area, left = np.count_nonzero(pixels), np.count_nonzero(free)
        if left and left >= overlap_threshold * area:
            segments.append(Segment(len(segments) + 1, int(things.class_ids[index]), True, float(things.scores[index])))
            region[free] = len(segments)
    rest = np.where(segment_ids == 0, stuff_ids, -1)
    for class_id, area in zip(*(values.tolist() for values in np.unique(rest, return_counts=True)), strict=True):
        if class_id >= 0 and area >= stuff_area * rest.size:
            segments.append(Segment(len(segments) + 1, class_id, False))
            segment_ids[rest == class_id] = len(segments)
    return PanopticMap(segment_ids, tuple(segments))


@dataclass(frozen=True)
class Extent:
    """How many pixels a segment has, and the box x1 y1 x2 y2 around them; pixel i covers [i, i + 1)."""

    area: int
    box_xyxy: tuple[int, int, int, int]


def segment_extents(found: PanopticMap) -> dict[int, Extent]:
    """The extent of every segment that has a pixel, by its id."""
    ids = np.array([0, *sorted(segment.segment_id for segment in found.segments)])
    places = np.searchsorted(ids, found.segment_ids)
    areas = np.bincount(places.ravel(), minlength=len(ids))
    rows, columns = _first_and_last(places, len(ids)), _first_and_last(places.T, len(ids))
    return {
        int(ids[k]): Extent(int(areas[k]), (columns[0][k], rows[0][k], columns[1][k] + 1, rows[1][k] + 1))
        for k in range(1, len(ids))
        if areas[k]
    }


def _first_and_last(places: npt.NDArray[np.int64], count: int) -> tuple[list[int], list[int]]:
    """For each of `count` segments the first and the last row that shows it."""
    there = np.zeros((len(places), count), bool)
    there[np.repeat(np.arange(len(places)), places.shape[1]), places.ravel()] = True
    first: list[int] = there.argmax(axis=0).tolist()
    last: list[int] = (len(places) - 1 - there[::-1].argmax(axis=0)).tolist()
    return first, last


def _under(mask: BoxMask, image: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int32], BoolMask]:
    """The part of `image` that lies under the mask, not copied, and the mask's pixels there."""
    (x, y), (height, width) = mask.top_left_xy, mask.pixels.shape
    rows, columns = slice(max(y, 0), max(y + height, 0)), slice(max(x, 0), max(x + width, 0))
    region = image[rows, columns]
    top, left = max(-y, 0), max(-x, 0)
    return region, mask.pixels[top : top + region.shape[0], left : left + region.shape[1]]
