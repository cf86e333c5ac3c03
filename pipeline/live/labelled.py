"""A labelled data set as the source of a run: `data:coco:IMAGES_DIR:ANNOTATIONS.json`."""

import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from edgewright.pipeline.datasets import (
    BoxDataset,
    Category,
    Dataset,
    MaskDataset,
    PanopticDataset,
    Sample,
    open_dataset,
)
from edgewright.pipeline.datasets._kinds import with_boxes, with_class_masks, with_segments
from edgewright.pipeline.live.labels import LABELS, FrameLabels, Record
from edgewright.runtime.errors import UsageError
from edgewright.runtime.results import Detections, Frame, Result, SemanticMap
from edgewright.runtime.sources import Source
from edgewright.runtime.spec import Task
from edgewright.runtime.supervision import open_supervised
from edgewright.runtime.uri import positive_number, take_options

WORD = "data:"


def open_any_source(uri: str, task: Task, *, newest: bool = True) -> Source:
    """The source that `uri` names; `data:DATA` is a data set with its labels, as `evaluate --data DATA` takes it.

    `task` says which of the labels are wanted. With `data:DATA?fps=5` its pictures come at that rate, as from a camera.
    """
    if not uri.startswith(WORD):
        return open_supervised(uri, newest=newest)
    location, options = take_options(uri.removeprefix(WORD), ("fps",))
    fps = options.get("fps")
    return LabelledSource(
        open_dataset(location),
        task,
        fps=None if fps is None else positive_number("option fps of source data", fps, at_most=1000),
    )


class LabelledSource(Source):
    """The pictures of a data set in its order, each with its labels: `truth`, and what that cannot say in `meta`."""

    def __init__(self, dataset: Dataset, task: Task, *, fps: float | None = None) -> None:
        self.name = f"{WORD}{dataset.uri}"
        self.length = len(dataset)
        self.fps = fps
        self.live = fps is not None
        self.dataset, self._labels = _labels(dataset, task)
        self.labels = self._labels.names
        self.has_masks = self._labels.has_masks

    def __iter__(self) -> Iterator[Frame]:
        start = time.monotonic()
        for index, sample in enumerate(self.dataset):
            image, (truth, known) = sample.image(), self._labels.of(sample)
            if self.fps is not None:
                time.sleep(max(0.0, start + index / self.fps - time.monotonic()))
            name = str(sample.path or self.name)
            yield Frame(image, index, time.monotonic(), name, truth, {LABELS: known})


def _labels(dataset: Dataset, task: Task) -> "tuple[Dataset, _Boxes | _Masks | _Segments]":
    if task in ("detect", "instance"):
        return dataset, _Boxes(with_boxes(dataset), masks=task == "instance")
    if task == "semantic":
        return dataset, _Masks(with_class_masks(dataset))
    if task == "panoptic":
        return dataset, _Segments(with_segments(dataset))
    raise UsageError(
        f"data '{dataset.uri}': a promptable network is not scored while it runs; use `edgewright evaluate`, or give its pictures "
        "as a folder"
    )


class _Boxes:
    def __init__(self, dataset: BoxDataset, *, masks: bool) -> None:
        truth = dataset.coco_ground_truth()
        self.has_masks = False
        if masks:
            from edgewright.pipeline.metrics.coco_masks import with_masks

            masked = with_masks(truth)
            truth, self.has_masks = masked or truth, masked is not None
        self.names = _names(dataset.categories)
        self._class_of = {category.id: number for number, category in enumerate(dataset.categories)}
        self._records: dict[int, list[Record]] = defaultdict(list)
        for record in truth["annotations"]:
            self._records[record["image_id"]].append(record)

    def of(self, sample: Sample) -> tuple[Result, FrameLabels]:
        records = self._records.get(sample.image_id, [])
        boxes = np.array([record["bbox"] for record in records], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        class_ids = np.array([self._class_of[record["category_id"]] for record in records], np.int64)
        truth = Detections(boxes, np.ones(len(records), np.float32), class_ids)
        return truth, FrameLabels(sample.image_id, tuple(records))


class _Masks:
    has_masks = True

    def __init__(self, dataset: MaskDataset) -> None:
        self.names = _names(dataset.classes)
        self._dataset = dataset

    def of(self, sample: Sample) -> tuple[Result, FrameLabels]:
        return SemanticMap(self._dataset.class_mask(sample.image_id)), FrameLabels(sample.image_id)


class _Segments:
    has_masks = True

    def __init__(self, dataset: PanopticDataset) -> None:
        self.names = _names(dataset.segment_classes)
        self._dataset = dataset

    def of(self, sample: Sample) -> tuple[Result | None, FrameLabels]:
        return None, FrameLabels(sample.image_id, panoptic=self._dataset.panoptic_labels(sample.image_id))


def _names(categories: Any) -> tuple[str, ...]:
    known: tuple[Category, ...] = tuple(categories)
    return tuple(category.name for category in known)
