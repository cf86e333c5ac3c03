"""Labelled images by URI: `coco:IMAGES_DIR:ANNOTATIONS.json`; the word before ':' is a file of this folder."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.runtime import plugins
from edgewright.runtime.results import Image
from edgewright.runtime.uri import split_word


@dataclass(frozen=True)
class Category:
    """A class of a data set; `id` is the data set's own number (COCO: 1..90 with gaps)."""

    id: int
    name: str


@dataclass(frozen=True)
class SegmentClass(Category):
    """A class of panoptic labels: a thing is countable, stuff is not."""

    is_thing: bool


@dataclass(frozen=True)
class Sample:
    """One image of a data set; `image()` reads it anew as BGR uint8 (H, W, 3), SourceError when it is damaged.

    `path` is None where no file lies behind it.
    """

    image_id: int
    path: Path | None
    image: Callable[[], Image]


class Dataset(ABC):
    """Images in a fixed order; `digest` covers labels and image bytes and is the same on every machine and path."""

    @property
    @abstractmethod
    def uri(self) -> str: ...

    @property
    @abstractmethod
    def digest(self) -> str: ...

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __iter__(self) -> Iterator[Sample]: ...

    @abstractmethod
    def first(self, count: int) -> "Dataset":
        """The first `count` images, as a data set with its own digest."""


class BoxDataset(Dataset):
    """A data set whose objects have boxes; `notes` tell a reader of the scores what is odd in the labels."""

    notes: tuple[str, ...] = ()
    # Whether the ids of the categories are the data's own; else only names say which label is meant.
    is_numbered = True

    @property
    @abstractmethod
    def categories(self) -> tuple[Category, ...]: ...

    @property
    def annotated(self) -> frozenset[int]:
        """The ids of the categories that objects may have; fewer than all where the labels use fewer."""
        return frozenset(category.id for category in self.categories)

    @abstractmethod
    def first(self, count: int) -> "BoxDataset": ...

    @abstractmethod
    def coco_ground_truth(self) -> dict[str, Any]:
        """The labels as COCO JSON: `info`, `images`, `annotations` (each with area and iscrowd) and `categories`."""


class MaskDataset(Dataset):
    """A data set whose pixels have classes; `classes` are what its numbers mean, empty where nothing says that."""

    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[Category, ...]:
        return ()

    @abstractmethod
    def first(self, count: int) -> "MaskDataset": ...

    @abstractmethod
    def class_mask(self, image_id: int) -> npt.NDArray[np.integer[Any]]:
        """The class of every pixel (H, W), in the data set's own numbers, 0 to 65535."""


@dataclass(frozen=True, eq=False)
class PanopticLabels:
    """The segment of every pixel (H, W) int32, 0 where nothing is labelled, and what each number means.

    `segments` are number, class id of the data set, and whether it is a crowd.
    """

    segment_ids: npt.NDArray[np.int32]
    segments: tuple[tuple[int, int, bool], ...]


class PanopticDataset(Dataset):
    """A data set whose pixels belong to segments, countable ones and stuff."""

    notes: tuple[str, ...] = ()

    @property
    @abstractmethod
    def segment_classes(self) -> tuple[SegmentClass, ...]: ...

    @property
    def annotated(self) -> frozenset[int]:
        """The ids of the classes that segments may have; fewer than all where the labels use fewer."""
        return frozenset(one.id for one in self.segment_classes)

    @abstractmethod
    def first(self, count: int) -> "PanopticDataset": ...

    @abstractmethod
    def panoptic_labels(self, image_id: int) -> PanopticLabels: ...


class VideoDataset(Dataset):
    """A data set of videos, in whose frames objects are numbered."""

    notes: tuple[str, ...] = ()

    @property
    @abstractmethod
    def videos(self) -> Mapping[str, Sequence[int]]:
        """The image ids of the frames of every video, in their order, by its name."""

    @abstractmethod
    def first(self, count: int) -> "VideoDataset":
        """The first `count` frames: whole videos, and the last one cut off."""

    @abstractmethod
    def object_numbers(self, image_id: int) -> npt.NDArray[np.integer[Any]]:
        """The object of every pixel (H, W) of a frame: 0 is background, 255 void."""


def open_dataset(uri: str) -> Dataset:
    """The data set that `uri` names; UsageError for an unknown kind, DataError for missing or inconsistent files."""
    kind, arguments = _split_kind(uri)
    dataset: Dataset = plugins.load(__name__, kind).load(arguments)
    return dataset


def _split_kind(uri: str) -> tuple[str, str]:
    # A folder may have a ':' in its name, and one letter before it is a Windows drive: both are plain folders.
    if Path(uri).is_dir():
        return "folder", uri
    return split_word(uri) or ("folder", uri)
