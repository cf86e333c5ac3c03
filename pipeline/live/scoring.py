"""Frames scored one by one while a run goes on, by the metrics of `evaluate`; their numbers follow for any set of frames."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.class_maps import class_table, ignored_label, true_classes
from edgewright.pipeline.datasets import BoxDataset, Category, MaskDataset, PanopticDataset
from edgewright.pipeline.datasets._kinds import with_class_masks, with_segments
from edgewright.pipeline.datasets._matching import match_labels, match_names
from edgewright.pipeline.datasets.synthetic import ConveyorDataset
from edgewright.pipeline.found import Found, coco_results
from edgewright.pipeline.live.labelled import LabelledSource
from edgewright.pipeline.live.labels import annotations, class_mask, image_id, segments
from edgewright.pipeline.metrics.image_sums import ImageSums, sums_of
from edgewright.pipeline.metrics.joined import joined_matches, joined_sums
from edgewright.pipeline.metrics.matched_scores import MatchedScores
from edgewright.pipeline.metrics.matches import Matches, match_boxes, match_masks
from edgewright.pipeline.metrics.panoptic import FALSE, HITS, MISSED, OVERLAP, SegmentCounts
from edgewright.pipeline.metrics.semantic import PixelCounts, confusion
from edgewright.pipeline.panoptic_maps import count_map, segment_table
from edgewright.pipeline.statistics import Resampleable
from edgewright.runtime import conveyor
from edgewright.runtime.errors import UsageError
from edgewright.runtime.results import Detections, Frame, PanopticMap, Result, SemanticMap
from edgewright.runtime.sources import Source
from edgewright.runtime.spec import ModelSpec

Floats = npt.NDArray[np.float64]


class Scorer(Protocol):
    """How the frames of a task are scored. `compared` are the names that are held against a baseline, `names` all."""

    names: tuple[str, ...]
    compared: tuple[str, ...]

    def score(self, frame: Frame, result: Result) -> Any:
        """What became of one frame, small enough to keep thousands."""
        ...

    def scores(self, frames: Sequence[Any]) -> Resampleable:
        """The numbers of such frames, in order of time, as a function of how often each occurs."""
        ...

    def series(self, frames: Sequence[Any]) -> Floats:
        """How much each frame raises or lowers a score like that which is compared, about 0."""
        ...

    def labelled(self, frames: Sequence[Any]) -> Floats:
        """How much of every class the labels have on each frame, (frames, classes): alike as long as the same things are in view."""
        ...


def scorer_for(spec: ModelSpec, source: Source, *, max_detections: int) -> Scorer:
    """What scores the results of a network on the frames of a labelled source; labels are mapped as `evaluate` does.

    UsageError or DataError when they do not fit the network.
    """
    dataset = source.dataset if isinstance(source, LabelledSource) else None
    if spec.task == "semantic":
        return MapScorer(spec, with_class_masks(dataset or _film(source)))
    if spec.task == "panoptic":
        return SegmentScorer(spec, with_segments(dataset or _film(source)))
    if spec.task not in ("detect", "instance"):
        raise UsageError(f"{spec.name} is a {spec.task} network, whose masks are not scored while it runs")
    labels = source.labels or ()
    categories: tuple[Category, ...] = tuple(Category(number, name) for number, name in enumerate(labels))
    if isinstance(dataset, BoxDataset):
        categories, numbers = dataset.categories, match_labels(spec, dataset)
    else:
        numbers = match_names(spec, categories, set(range(len(labels))), source.name)
    masks = spec.task == "instance" and (not isinstance(source, LabelledSource) or source.has_masks)
    return BoxScorer(categories, numbers, masks=masks, max_detections=max_detections)


def _film(source: Source) -> ConveyorDataset:
    """What a film of labelled parts calls its classes."""
    if source.labels != conveyor.LABELS:
        raise UsageError(f"{source.name} has labels of boxes, which are not compared with maps")
    return ConveyorDataset(0, 1)


class BoxScorer:
    """AP of boxes, and of masks where both sides have some; kept by what is put before the names."""

    def __init__(
        self,
        categories: Sequence[Category],
        category_ids: Sequence[int | None],
        *,
        masks: bool,
        max_detections: int,
    ) -> None:
        self._categories = [{"id": category.id, "name": category.name} for category in categories]
        self._category_ids = category_ids
        self._masks = masks
        self._max_detections = max_detections
        self.names: tuple[str, ...] = ("AP", "AP50", *(("mask-AP", "mask-AP50") if masks else ()))
        self.compared: tuple[str, ...] = ("AP", *(("mask-AP",) if masks else ()))

    def score(self, frame: Frame, result: Result) -> Mapping[str, Matches]:
        if not isinstance(result, Detections):
            raise UsageError(f"the network gives a {type(result).__name__}, boxes need Detections")
        number = image_id(frame)
        truth = {
            "images": [{"id": number}],
            "annotations": annotations(frame, masks=self._masks),
            "categories": self._categories,
        }
        found = Found(number, replace(result, masks=None), self._run_lengths(frame, result))
        results = list(coco_results([found], self._category_ids))
        matches = {"": match_boxes(truth, results, max_detections=self._max_detections)}
        if self._masks:
            matches["mask-"] = match_masks(truth, results, max_detections=self._max_detections)
        return matches

    def scores(self, frames: Sequence[Mapping[str, Matches]]) -> Resampleable:
        prefixes = ("", "mask-") if self._masks else ("",)
        return _Both([_matched(frames, prefix, set(self.names)) for prefix in prefixes])

    def series(self, frames: Sequence[Mapping[str, Matches]]) -> Floats:
        matches = joined_matches([frame[""] for frame in frames])
        counted, objects = matches.ignored[0] & 1 == 0, matches.object_areas & 1 > 0
        hit = matches.hit[0][counted] & 1 > 0
        kept = matches.score[counted] >= _best_threshold(matches.score[counted], hit, int(objects.sum()))
        shape = len(matches.image_ids), len(matches.categories)
        cell = matches.image[counted][kept].astype(np.int64) * shape[1] + matches.category[counted][kept]
        true = _table(cell[hit[kept]], shape)
        # F1 of every class: it sees hits, misses and false alarms, as AP does, and is a ratio of sums over frames.
        return contributions(2 * true, _table(cell, shape) + _objects(matches))

    def labelled(self, frames: Sequence[Mapping[str, Matches]]) -> Floats:
        return _objects(joined_matches([frame[""] for frame in frames]))

    def _run_lengths(self, frame: Frame, result: Detections) -> Any:
        if not self._masks or result.masks is None:
            return None
        from edgewright.pipeline.metrics.coco_masks import run_lengths

        return [run_lengths(mask, frame.size_hw) for mask in result.masks]


class MapScorer:
    """mIoU, Dice and pixel accuracy of class maps."""

    names: tuple[str, ...] = ("mIoU", "Dice", "pixel-accuracy")
    compared: tuple[str, ...] = ("mIoU",)

    def __init__(self, spec: ModelSpec, dataset: MaskDataset) -> None:
        self._spec = spec
        self._table = class_table(spec, dataset)
        self._shape = (len(spec.labels), len(spec.labels) + 1)

    def score(self, frame: Frame, result: Result) -> ImageSums:
        if not isinstance(result, SemanticMap):
            raise UsageError(f"the network gives a {type(result).__name__}, class masks need a SemanticMap")
        truth = true_classes(class_mask(frame), self._table, result, frame.source, self._spec)
        return sums_of([image_id(frame)], [confusion(truth, result.class_ids, len(self._spec.labels))], self._shape)

    def scores(self, frames: Sequence[ImageSums]) -> Resampleable:
        head, ignored = self._spec.head, ignored_label(self._spec)
        counts = PixelCounts(self._spec.labels, head.background_id, ignored, joined_sums(frames))
        return counts.scores(self.names)

    def series(self, frames: Sequence[ImageSums]) -> Floats:
        sums, classes = joined_sums(frames), self._shape[0]
        row, column = np.divmod(sums.cell.astype(np.int64), classes + 1)
        shape = len(sums.image_ids), classes
        true, hits, found = (
            _table(sums.image[chosen].astype(np.int64) * classes + which[chosen], shape, sums.amount[chosen])
            for which, chosen in ((row, row >= 0), (row, row == column), (column, column < classes))
        )
        return contributions(hits, true + found - hits)

    def labelled(self, frames: Sequence[ImageSums]) -> Floats:
        sums, columns = joined_sums(frames), self._shape[1]
        cell = sums.image.astype(np.int64) * self._shape[0] + sums.cell.astype(np.int64) // columns
        return _table(cell, (len(sums.image_ids), self._shape[0]), sums.amount)


class SegmentScorer:
    """Panoptic quality."""

    names: tuple[str, ...] = ("PQ", "SQ", "RQ")
    compared: tuple[str, ...] = ("PQ",)

    def __init__(self, spec: ModelSpec, dataset: PanopticDataset) -> None:
        self._table = segment_table(spec, dataset)
        self._classes = dataset.segment_classes
        self._index = {one.id: number for number, one in enumerate(self._classes)}

    def score(self, frame: Frame, result: Result) -> ImageSums:
        if not isinstance(result, PanopticMap):
            raise UsageError(f"the network gives a {type(result).__name__}, segments need a PanopticMap")
        counts = count_map(segments(frame), result, self._index, self._table, frame.source)
        return sums_of([image_id(frame)], [counts], (len(self._classes), 4))

    def scores(self, frames: Sequence[ImageSums]) -> Resampleable:
        things = np.array([one.is_thing for one in self._classes], bool)
        names = tuple(one.name for one in self._classes)
        return SegmentCounts(names, things, joined_sums(frames)).scores(self.names)

    def series(self, frames: Sequence[ImageSums]) -> Floats:
        sums = joined_sums(frames)
        row, column = np.divmod(sums.cell.astype(np.int64), 4)
        shape = len(sums.image_ids), len(self._classes)
        cell = sums.image.astype(np.int64) * shape[1] + row
        overlap, hits, false, missed = (
            _table(cell[column == which], shape, sums.amount[column == which])
            for which in (OVERLAP, HITS, FALSE, MISSED)
        )
        return contributions(overlap, hits + 0.5 * false + 0.5 * missed)

    def labelled(self, frames: Sequence[ImageSums]) -> Floats:
        sums = joined_sums(frames)
        row, column = np.divmod(sums.cell.astype(np.int64), 4)
        there, shape = (column == HITS) | (column == MISSED), (len(sums.image_ids), len(self._classes))
        return _table((sums.image.astype(np.int64) * shape[1] + row)[there], shape, sums.amount[there])


def contributions(part: Floats, whole: Floats) -> Floats:
    """What each frame adds to the mean of the ratios of sums over frames, to first order: (frames, classes) to (frames,).

    A class that occurs nowhere does not count.
    """
    total = whole.sum(axis=0)
    present = total > 0
    ratio = part.sum(axis=0)[present] / total[present]
    each: Floats = ((part[:, present] - ratio * whole[:, present]) / total[present]).sum(axis=1)
    return each


class _Both:
    """Scores of boxes and of masks of the same frames as one."""

    def __init__(self, parts: Sequence[Resampleable]) -> None:
        self._parts = parts
        self.names = tuple(name for part in parts for name in part.names)
        self.images = parts[0].images

    def values(self, weights: npt.NDArray[np.int64]) -> Floats:
        return np.concatenate([part.values(weights) for part in self._parts])

    def support(self) -> npt.NDArray[np.int64]:
        return np.concatenate([part.support() for part in self._parts])


def _matched(frames: Sequence[Mapping[str, Matches]], prefix: str, names: set[str]) -> Resampleable:
    return MatchedScores(joined_matches([frame[prefix] for frame in frames]), names=names, prefix=prefix)


def _objects(matches: Matches) -> Floats:
    """How many objects of every class count on each frame."""
    counted, shape = matches.object_areas & 1 > 0, (len(matches.image_ids), len(matches.categories))
    cell = matches.object_image[counted].astype(np.int64) * shape[1] + matches.object_category[counted]
    return _table(cell, shape)


def _best_threshold(score: Floats, hit: npt.NDArray[np.bool_], objects: int) -> float:
    """The score where F1 of all classes together is best."""
    if not hit.any():
        return 0.0
    order = np.argsort(-score, kind="stable")
    f1 = 2 * np.cumsum(hit[order]) / (np.arange(1, len(order) + 1) + objects)
    return float(score[order][int(np.argmax(f1))])


def _table(cell: npt.NDArray[np.int64], shape: tuple[int, int], amount: Floats | None = None) -> Floats:
    """How much lies in every cell of a table of frames and classes."""
    table: Floats = np.bincount(cell, amount, shape[0] * shape[1]).astype(np.float64)
    return table.reshape(shape)
