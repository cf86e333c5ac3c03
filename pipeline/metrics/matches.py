"""Detections matched to objects once, as COCO does; AP of any choice of the images follows from it in milliseconds."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.metrics.assignment import Objects, Pairs, assign
from edgewright.runtime.errors import DataError

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
# The overlap of some detections with some objects, both as indices into the records: (n,), (m,) to (n, m).
Overlap = Callable[[Ints, Ints], Floats]

# pycocotools, Params.setDetParams: areas are in square pixels, both bounds belong to them.
AREAS = ("all", "small", "medium", "large")
_AREA_BOUNDS = np.array([[0, 1e5**2], [0, 32**2], [32**2, 96**2], [96**2, 1e5**2]])
IOU_THRESHOLDS: Floats = np.linspace(0.5, 0.95, 10)
_EVERY_THRESHOLD = np.uint16((1 << len(IOU_THRESHOLDS)) - 1)


@dataclass(frozen=True, eq=False)
class Matches:
    """What became of every detection, and which objects there are: N images, D detections, G objects.

    Detections are ordered by category, then by falling score, equal ones by image. In `hit` and `ignored` (areas, D) bit t
    stands for IoU threshold t: the detection found an object there, or counts neither as hit nor as false alarm. `rank` is
    its place among the detections of its image and category, 0 the best. Bit a of `object_areas` is set where the object
    counts in area a; crowds count nowhere. Images and categories are indices.
    """

    image_ids: Ints
    categories: tuple[str, ...]
    max_detections: int
    category: npt.NDArray[np.int32]
    image: npt.NDArray[np.int32]
    rank: npt.NDArray[np.int32]
    score: Floats
    hit: npt.NDArray[np.uint16]
    ignored: npt.NDArray[np.uint16]
    object_category: npt.NDArray[np.int32]
    object_image: npt.NDArray[np.int32]
    object_areas: npt.NDArray[np.uint8]

    def of_images(self, images: Ints) -> "Matches":
        """Those of some images only; `images` are indices in rising order, and image i becomes the i-th of them."""
        number = np.full(len(self.image_ids), -1, np.int32)
        number[images] = np.arange(len(images))
        found, objects = number[self.image] >= 0, number[self.object_image] >= 0
        return replace(
            self,
            image_ids=self.image_ids[images],
            category=self.category[found],
            image=number[self.image[found]],
            rank=self.rank[found],
            score=self.score[found],
            hit=self.hit[:, found],
            ignored=self.ignored[:, found],
            object_category=self.object_category[objects],
            object_image=number[self.object_image[objects]],
            object_areas=self.object_areas[objects],
        )


def match_boxes(truth: dict[str, Any], results: Sequence[Any], *, max_detections: int = 100) -> Matches:
    """COCO results (`bbox`, `score`) matched to COCO ground truth by the overlap of boxes."""
    found, objects = (boxes_of(records) for records in (results, truth["annotations"]))
    crowd = _column(truth["annotations"], "iscrowd", bool)
    return match(
        truth,
        results,
        found_area=found[:, 2] * found[:, 3],
        overlap=lambda rows, columns: box_overlap(found[rows], objects[columns], crowd[columns]),
        max_detections=max_detections,
    )


def match_masks(truth: dict[str, Any], results: Sequence[Any], *, max_detections: int = 100) -> Matches:
    """COCO results matched by the overlap of masks; every `segmentation` is a run-length code, of objects too."""
    from faster_coco_eval.core import mask as coding

    found, objects = ([record["segmentation"] for record in records] for records in (results, truth["annotations"]))
    crowd = _column(truth["annotations"], "iscrowd", bool)

    def overlap(rows: Ints, columns: Ints) -> Floats:
        table = coding.iou([found[n] for n in rows], [objects[n] for n in columns], crowd[columns].tolist())
        return np.asarray(table, np.float64)

    area = np.asarray(coding.area(found) if found else [], np.float64)
    return match(truth, results, found_area=area, overlap=overlap, max_detections=max_detections)


def match(
    truth: dict[str, Any], results: Sequence[Any], *, found_area: Floats, overlap: Overlap, max_detections: int
) -> Matches:
    """COCO results matched by any overlap; `found_area` (D,) decides whether a false alarm counts as small or large."""
    annotations, groups = truth["annotations"], grouped(truth, results)
    image_ids, group, object_group = groups.image_ids, groups.group, groups.object_group
    score = _column(results, "score", np.float64)
    order = np.lexsort((-score, group))
    rank = _place_in_group(group[order])
    order, rank = order[rank < max_detections], rank[rank < max_detections]
    object_order = np.argsort(object_group, kind="stable")

    crowd = _column(annotations, "iscrowd", bool)
    outside = _outside(_column(annotations, "area", np.float64)) | crowd
    pairs = _pairs(group[order], order, object_group[object_order], object_order, overlap)
    hit, ignored = assign(pairs, Objects(outside, crowd), IOU_THRESHOLDS, detections=len(results))
    ignored |= np.where(_outside(found_area), ~hit & _EVERY_THRESHOLD, 0).astype(np.uint16)
    order, rank = (values[np.lexsort((-score[order], group[order] // len(image_ids)))] for values in (order, rank))
    return Matches(
        image_ids=image_ids,
        categories=groups.categories,
        max_detections=max_detections,
        category=(group[order] // len(image_ids)).astype(np.int32),
        image=(group[order] % len(image_ids)).astype(np.int32),
        rank=rank.astype(np.int32),
        score=score[order],
        hit=hit[:, order],
        ignored=ignored[:, order],
        object_category=(object_group // len(image_ids)).astype(np.int32),
        object_image=(object_group % len(image_ids)).astype(np.int32),
        object_areas=np.bitwise_or.reduce(~outside << np.arange(len(AREAS))[:, None], axis=0).astype(np.uint8),
    )


@dataclass(frozen=True, eq=False)
class Grouped:
    """Detections (D,) and objects (G,) by category and image, both as indices: group = category * images + image."""

    image_ids: Ints
    categories: tuple[str, ...]
    group: Ints
    object_group: Ints


def grouped(truth: dict[str, Any], results: Sequence[Any]) -> Grouped:
    """The groups of COCO results and ground truth, categories in the order of their ids; DataError for unknown ids."""
    image_ids = np.unique(_column(truth["images"], "id", np.int64))
    categories = sorted(truth["categories"], key=lambda category: int(category["id"]))
    numbers = np.array([category["id"] for category in categories], np.int64)
    group, object_group = (
        _position(numbers, _column(records, "category_id", np.int64), "category") * len(image_ids)
        + _position(image_ids, _column(records, "image_id", np.int64), "image")
        for records in (results, truth["annotations"])
    )
    return Grouped(image_ids, tuple(str(category["name"]) for category in categories), group, object_group)


def common_runs(groups: Ints, others: Ints) -> Iterable[tuple[Ints, Ints]]:
    """For every number that occurs in both: the indices where it does in the one, and in the other, in their order."""
    order, other_order = (np.argsort(values, kind="stable") for values in (groups, others))
    ordered = others[other_order]
    for number, start, stop in _runs(groups[order]):
        first, last = np.searchsorted(ordered, (number, number + 1))
        if first < last:
            yield order[start:stop], other_order[first:last]


def box_overlap(found: Floats, objects: Floats, crowd: Bools) -> Floats:
    """The IoU (n, m) of boxes x, y, width, height (n, 4) and (m, 4); with a crowd, the share of the detection inside it."""
    # The order of operations is that of pycocotools, bbIou in maskApi.c, so that ties at a threshold fall alike.
    shared = np.minimum(found[:, None, :2] + found[:, None, 2:], objects[:, :2] + objects[:, 2:])
    shared = np.maximum(shared - np.maximum(found[:, None, :2], objects[:, :2]), 0)
    both = shared[..., 0] * shared[..., 1]
    area, object_area = (found[:, 2] * found[:, 3])[:, None], objects[:, 2] * objects[:, 3]
    union = np.where(crowd, area, area + object_area - both)
    iou: Floats = np.divide(both, union, out=np.zeros_like(both), where=both > 0)
    return iou


def _pairs(group: Ints, record: Ints, object_group: Ints, object_record: Ints, overlap: Overlap) -> Pairs:
    """Every detection with every object of its image and category that it overlaps enough for any threshold."""
    lists = [_NO_PAIRS]
    for number, start, stop in _runs(group):
        first, last = np.searchsorted(object_group, (number, number + 1))
        if first < last:
            table = overlap(record[start:stop], object_record[first:last])
            row, column = np.nonzero(table >= IOU_THRESHOLDS[0])
            which = np.full(len(row), number)
            lists.append((which, record[start + row], object_record[first + column], table[row, column]))
    return Pairs(*(np.concatenate(parts) for parts in zip(*lists, strict=True)))


_NO_PAIRS: tuple[Ints, Ints, Ints, Floats] = (*(np.zeros(0, np.int64) for _ in range(3)), np.zeros(0))  # type: ignore[assignment]


def _runs(values: Ints) -> Iterable[tuple[int, int, int]]:
    """Value, start and stop of every run of equal values."""
    starts = np.flatnonzero(np.diff(values, prepend=-1))
    stops = np.append(starts[1:], len(values))[: len(starts)]
    yield from zip(values[starts].tolist(), starts.tolist(), stops.tolist(), strict=True)


def _place_in_group(group: Ints) -> Ints:
    """0, 1, 2, ... within every run of equal values."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    lengths = np.diff(starts, append=len(group))
    return np.arange(len(group)) - np.repeat(starts, lengths)


def _outside(area: Floats) -> Bools:
    """Where an area (n,) does not lie within the bounds: (areas, n)."""
    return (area < _AREA_BOUNDS[:, :1]) | (area > _AREA_BOUNDS[:, 1:])


def _position(known: Ints, numbers: Ints, what: str) -> Ints:
    if len(numbers) and not len(known):
        raise DataError(f"the labels list no {what}, but some are named; complete the labels")
    place = np.searchsorted(known, numbers).clip(max=max(len(known) - 1, 0))
    strange = numbers[known[place] != numbers] if len(numbers) else numbers
    if len(strange):
        raise DataError(f"{what} {strange[0]} is not among those of the labels; use the labels of the same data")
    return place.astype(np.int64)


def boxes_of(records: Sequence[Any]) -> Floats:
    """The boxes x, y, width, height (n, 4) of COCO records."""
    return np.array([record["bbox"] for record in records], np.float64).reshape(-1, 4)


def _column(records: Sequence[Any], key: str, kind: type) -> npt.NDArray[Any]:
    return np.array([record[key] for record in records], kind)
