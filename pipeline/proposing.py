"""Region proposals of a data set, computed once and kept in a file, and how many of its objects they cover."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.console import progress
from edgewright.pipeline.datasets import BoxDataset, Dataset, Sample
from edgewright.runtime.errors import UsageError
from edgewright.runtime.geometry import box_iou
from edgewright.runtime.proposals import open_method
from edgewright.runtime.proposals.file import PICTURE, thumbprint
from edgewright.runtime.results import Boxes

# What a region and an object have in common for the object to count as found: the threshold of the proposal literature.
_COVERED = 0.5


@dataclass(frozen=True)
class Proposed:
    """Regions (N, 4) in pixels of every image by the name that a file knows it by, and the image's thumbprint; `covered` is the
    share of the objects that a region overlaps by half (IoU), None where the data have no boxes."""

    regions: dict[str, Boxes]
    covered: float | None
    pictures: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)

    @property
    def per_image(self) -> float:
        return sum(len(boxes) for boxes in self.regions.values()) / max(1, len(self.regions))


def propose(dataset: Dataset, *, method: str = "selective_search", count: int = 1000) -> Proposed:
    """The best `count` regions of every image, in the order of the data set."""
    find = open_method(method)
    samples = list(dataset)
    times = Counter(sample.path.name for sample in samples if sample.path is not None)
    regions, pictures, found = {}, {}, {}
    for sample in progress(samples, total=len(samples), description="propose"):
        image = sample.image()
        boxes = find(image, names_of(sample))[:count]
        # Pictures of the same name in different folders are told apart by their number.
        unique = sample.path is not None and times[sample.path.name] == 1
        name = sample.path.name if sample.path is not None and unique else str(sample.image_id)
        regions[name] = found[sample.image_id] = boxes
        pictures[name] = thumbprint(image)
    return Proposed(regions, _covered(dataset, found) if isinstance(dataset, BoxDataset) else None, pictures)


def names_of(sample: Sample) -> tuple[str, ...]:
    """What a file of regions may know the image by: its file's name, its id."""
    return (*(() if sample.path is None else (sample.path.name,)), str(sample.image_id))


def save_regions(path: Path, proposed: Proposed) -> None:
    """Write a file that `file:PATH` reads: JSON with hundredths of a pixel, or .npz; UsageError for another suffix."""
    check_suffix(path)
    pictures = {f"{PICTURE}{name}": greys for name, greys in proposed.pictures.items()}
    if path.suffix == ".npz":
        arrays: dict[str, Any] = {**proposed.regions, **pictures}
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        return
    rounded = {name: np.round(boxes.astype(np.float64), 2).tolist() for name, boxes in proposed.regions.items()}
    entries = {**rounded, **{name: greys.tolist() for name, greys in pictures.items()}}
    lines = (f"{json.dumps(name)}: {json.dumps(values)}" for name, values in entries.items())
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def check_suffix(path: Path) -> None:
    """UsageError unless the file's name says how to write it."""
    if path.suffix not in (".json", ".npz"):
        raise UsageError(f"regions are written as .json or .npz, got '{path.name}'; give the file one of these endings")


def _covered(dataset: BoxDataset, found: dict[int, Boxes]) -> float | None:
    best = [
        overlap
        for annotation in dataset.coco_ground_truth()["annotations"]
        if not annotation.get("iscrowd") and annotation["image_id"] in found
        for overlap in [_best_overlap(annotation["bbox"], found[annotation["image_id"]])]
    ]
    return float(np.mean(np.array(best) >= _COVERED)) if best else None


def _best_overlap(box_xywh: Sequence[float], regions: Boxes) -> float:
    x, y, w, h = box_xywh
    return float(box_iou(np.array([[x, y, x + w, y + h]], np.float32), regions).max(initial=0.0))
