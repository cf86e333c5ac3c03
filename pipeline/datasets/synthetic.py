"""Pictures of the built-in conveyor with exact labels: `synthetic:SEED:COUNT`."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.datasets import (
    BoxDataset,
    Category,
    MaskDataset,
    PanopticDataset,
    PanopticLabels,
    Sample,
    SegmentClass,
)
from edgewright.runtime.conveyor import LABELS, LabelledImage, render_scene
from edgewright.runtime.errors import UsageError
from edgewright.runtime.masks import run_counts
from edgewright.runtime.results import Image

# Drawing all pictures of a large set takes minutes, and a digest is wanted before it is known whether any is needed.
_PROBES = 4
_BACKGROUND = "background"


@dataclass(frozen=True)
class _Truth:
    size_hw: tuple[int, int]
    image_sha256: str
    annotations: tuple[dict[str, Any], ...]
    masks: tuple[dict[str, Any], ...]


@dataclass(frozen=True, eq=False)
class ConveyorDataset(BoxDataset, MaskDataset, PanopticDataset):
    """Image ids and category ids count from 0, as the generator does; labels are kept from the first rendering.

    In class masks and panoptic labels 0 is the background, and the number of a part is its category id + 1. In panoptic labels
    every part is a thing and all else one segment of background, which is stuff.
    """

    seed: int
    count: int
    _truths: dict[int, _Truth] = field(default_factory=dict, repr=False)
    # The scene that was drawn last: image and class mask are asked for one after the other.
    _last: dict[int, LabelledImage] = field(default_factory=dict, repr=False)

    @property
    def uri(self) -> str:
        return f"synthetic:{self.seed}:{self.count}"

    @property
    def categories(self) -> tuple[Category, ...]:
        return tuple(Category(number, label) for number, label in enumerate(LABELS))

    @property
    def classes(self) -> tuple[Category, ...]:
        return tuple(Category(number, label) for number, label in enumerate((_BACKGROUND, *LABELS)))

    @property
    def segment_classes(self) -> tuple[SegmentClass, ...]:
        return tuple(SegmentClass(c.id, c.name, is_thing=c.id > 0) for c in self.classes)

    @property
    def digest(self) -> str:
        """Every scene follows from seed and index, so a few of them stand for the generator that drew all."""
        drawn = (
            f"{truth.image_sha256} {truth.annotations}" for truth in map(self._truth, range(min(self.count, _PROBES)))
        )
        return hashlib.sha256("\n".join([self.uri, *LABELS, *drawn]).encode()).hexdigest()

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Sample]:
        for index in range(self.count):
            yield Sample(index, None, partial(self._render, index))

    def first(self, count: int) -> "ConveyorDataset":
        return replace(self, count=min(count, self.count))

    def coco_ground_truth(self) -> dict[str, Any]:
        truths = [self._truth(index) for index in range(self.count)]
        annotations = [
            {"image_id": index, **annotation, "segmentation": mask}
            for index, truth in enumerate(truths)
            for annotation, mask in zip(truth.annotations, truth.masks, strict=True)
        ]
        return {
            "info": {},
            "images": [
                {"id": index, "file_name": f"{index:06d}.png", "height": truth.size_hw[0], "width": truth.size_hw[1]}
                for index, truth in enumerate(truths)
            ],
            "annotations": [{"id": number, **annotation} for number, annotation in enumerate(annotations, start=1)],
            "categories": [{"id": category.id, "name": category.name} for category in self.categories],
        }

    def class_mask(self, image_id: int) -> npt.NDArray[np.uint8]:
        scene = self._scene(image_id)
        size_hw = scene.image.shape[0], scene.image.shape[1]
        ids = np.zeros(size_hw, np.uint8)
        for class_id, mask in zip(scene.class_ids, scene.masks, strict=True):
            ids[mask.paste(size_hw)] = class_id + 1
        return ids

    def panoptic_labels(self, image_id: int) -> PanopticLabels:
        scene = self._scene(image_id)
        size_hw = scene.image.shape[0], scene.image.shape[1]
        ids = np.ones(size_hw, np.int32)
        for number, mask in enumerate(scene.masks, start=2):
            ids[mask.paste(size_hw)] = number
        parts = [(number, int(class_id) + 1, False) for number, class_id in enumerate(scene.class_ids, start=2)]
        background = [(1, 0, False)] if (ids == 1).any() else []
        return PanopticLabels(ids, (*background, *parts))

    def _truth(self, index: int) -> _Truth:
        if index not in self._truths:
            self._render(index)
        return self._truths[index]

    def _render(self, index: int) -> Image:
        scene = self._scene(index)
        if index not in self._truths:
            size_hw = scene.image.shape[0], scene.image.shape[1]
            masks = tuple({"size": list(size_hw), "counts": run_counts(mask, size_hw)} for mask in scene.masks)
            digest = hashlib.sha256(scene.image.tobytes()).hexdigest()
            self._truths[index] = _Truth(size_hw, digest, _annotations(scene), masks)
        return scene.image.copy()

    def _scene(self, index: int) -> LabelledImage:
        if index not in self._last:
            self._last.clear()
            self._last[index] = render_scene(self.seed, index)
        return self._last[index]


def load(arguments: str) -> ConveyorDataset:
    """The data set of `SEED:COUNT`; UsageError unless both are whole numbers and there is at least one image."""
    match = re.fullmatch(r"(\d+):(\d+)", arguments)
    if match is None or int(match[2]) == 0:
        raise UsageError(
            f"data 'synthetic:{arguments}': wanted synthetic:SEED:COUNT with whole numbers, such as synthetic:7:200"
        )
    return ConveyorDataset(int(match[1]), int(match[2]))


def _annotations(scene: LabelledImage) -> tuple[dict[str, Any], ...]:
    corners = scene.boxes_xyxy.astype(np.float64)
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    return tuple(
        {
            "category_id": int(class_id),
            "bbox": box.tolist(),
            # COCO measures the size of an object by its visible pixels, not by its box.
            "area": float(mask.pixels.sum()),
            "iscrowd": 0,
        }
        for class_id, box, mask in zip(scene.class_ids, boxes, scene.masks, strict=True)
    )
