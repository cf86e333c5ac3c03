"""COCO's panoptic format, a JSON file and a folder of PNG files: `panoptic:IMAGES_DIR:ANNOTATIONS.json:PNG_DIR`."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgewright.pipeline.datasets import PanopticDataset, PanopticLabels, Sample, SegmentClass
from edgewright.pipeline.datasets._coco_checks import check_annotations, check_named, check_records
from edgewright.pipeline.datasets._coco_json import load_json_object
from edgewright.pipeline.datasets._digests import image_sha256
from edgewright.pipeline.datasets._paths import split_paths
from edgewright.runtime.errors import DataError, UsageError
from edgewright.runtime.sources.images import read_image

_WANTED = "panoptic:IMAGES_DIR:ANNOTATIONS.json:PNG_DIR"
Record = dict[str, Any]


@dataclass(frozen=True, eq=False)
class PanopticFiles(PanopticDataset):
    """Images in the order of the annotation file, each with the PNG file of its segments."""

    images_dir: Path
    file: Path
    png_dir: Path
    categories: tuple[SegmentClass, ...]
    records: tuple[tuple[Record, Record], ...]

    @property
    def uri(self) -> str:
        return f"panoptic:{self.images_dir}:{self.file}:{self.png_dir}"

    @property
    def segment_classes(self) -> tuple[SegmentClass, ...]:
        return self.categories

    @cached_property
    def annotated(self) -> frozenset[int]:
        return frozenset(category for _, annotation in self.records for _, category, _ in _segments(annotation))

    @cached_property
    def digest(self) -> str:
        lines = [f"category {c.id} {c.name} {c.is_thing}" for c in sorted(self.categories, key=lambda c: c.id)]
        for image, annotation in sorted(self.records, key=lambda pair: int(pair[0]["id"])):
            files = (self.images_dir / image["file_name"], self.png_dir / annotation["file_name"])
            lines.append(f"image {image['id']} {' '.join(map(image_sha256, files))}")
            lines.append(json.dumps(sorted(_segments(annotation))))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Sample]:
        for image, _ in self.records:
            path = self.images_dir / image["file_name"]
            yield Sample(image["id"], path, partial(read_image, path))

    def first(self, count: int) -> "PanopticFiles":
        return replace(self, records=self.records[:count])

    @cached_property
    def _annotations(self) -> dict[int, Record]:
        return {image["id"]: annotation for image, annotation in self.records}

    def panoptic_labels(self, image_id: int) -> PanopticLabels:
        annotation = self._annotations[image_id]
        path = self.png_dir / annotation["file_name"]
        ids, segments = read_segment_ids(path), tuple(_segments(annotation))
        strange = np.setdiff1d(np.unique(ids), [0, *(number for number, _, _ in segments)])
        if len(strange):
            raise DataError(
                f"{path}: holds segment {strange[0]}, which the annotation of image {image_id} in {self.file.name} does not "
                "list; give the PNG files that belong to the JSON file"
            )
        return PanopticLabels(ids, segments)


def load(arguments: str) -> PanopticFiles:
    """The data set of `IMAGES_DIR:ANNOTATIONS.json:PNG_DIR`, checked as far as possible without decoding pictures."""
    parts = split_paths(arguments, [_is_folder, _is_file, _is_folder])
    if parts is None:
        raise UsageError(f"data 'panoptic:{arguments}' needs two folders and a file; write {_WANTED}")
    images_dir, file, png_dir = map(Path, parts)
    for folder in (images_dir, png_dir):
        if not folder.is_dir():
            raise DataError(f"{folder}: there is no such folder (read from '{_WANTED}'); check the order and the path")
    content = load_json_object(file)
    images, categories, annotations = (check_records(file, content, k) for k in ("images", "categories", "annotations"))
    check_named(file, "image", images, "file_name")
    check_named(file, "category", categories, "name")
    check_annotations(file, annotations, "image", images)
    classes = tuple(_segment_class(file, category) for category in categories)
    by_image = {annotation["image_id"]: annotation for annotation in annotations}
    _check_pairs(file, images, annotations, {c.id for c in classes})
    _check_files(images_dir, [image["file_name"] for image in images], file)
    _check_files(png_dir, [annotation["file_name"] for annotation in annotations], file)
    return PanopticFiles(images_dir, file, png_dir, classes, tuple((i, by_image[i["id"]]) for i in images))


def read_segment_ids(path: Path) -> npt.NDArray[np.int32]:
    """The segment numbers (H, W) of a PNG file, R + 256 G + 256² B as in panopticapi; DataError when it is no such file."""
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as err:
        raise DataError(f"{path}: the segments cannot be read ({err.strerror or err}); check the file") from err
    colors = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    if colors is None or b"IEND" not in data[-12:].tobytes():
        raise DataError(f"{path}: the PNG file is damaged, cut off or no picture; copy or export it again")
    if colors.ndim != 3 or colors.dtype != np.uint8:
        raise DataError(f"{path}: the PNG file is no picture of three colours of 8 bits, which the numbers are made of")
    blue, green, red = (colors[..., channel].astype(np.int32) for channel in range(3))
    return np.asarray(red + 256 * green + 256**2 * blue, np.int32)


def _segment_class(file: Path, category: Record) -> SegmentClass:
    is_thing = category.get("isthing")
    if is_thing not in (0, 1):
        raise DataError(
            f"{file}: category {category['id']} '{category['name']}' has isthing {is_thing!r}, wanted 0 or 1; give a "
            "panoptic annotation file (coco:IMAGES_DIR:ANNOTATIONS.json reads the others)"
        )
    return SegmentClass(category["id"], category["name"], is_thing=bool(is_thing))


def _check_pairs(file: Path, images: list[Record], annotations: list[Record], known: set[int]) -> None:
    of_image = [annotation["image_id"] for annotation in annotations]
    if len(set(of_image)) < len(of_image) or set(of_image) != {image["id"] for image in images}:
        raise DataError(
            f"{file}: {len(images)} images and {len(annotations)} annotations, wanted one annotation for every image; "
            "repair the file"
        )
    for number, annotation in enumerate(annotations):
        where = f"{file}: annotations[{number}] (image {annotation['image_id']})"
        if not isinstance(annotation.get("file_name"), str):
            raise DataError(f"{where} has file_name {annotation.get('file_name')!r}, wanted that of its PNG file")
        segments = annotation.get("segments_info")
        if not isinstance(segments, list) or not all(isinstance(segment, dict) for segment in segments):
            raise DataError(f"{where} has no list segments_info; give a panoptic annotation file")
        for segment in segments:
            _check_segment(segment, where, known)
        numbers = [segment["id"] for segment in segments]
        if len(set(numbers)) < len(numbers):
            raise DataError(f"{where} lists a segment twice; every segment needs a number of its own")


def _check_segment(segment: Record, where: str, known: set[int]) -> None:
    number, category = segment.get("id"), segment.get("category_id")
    if not isinstance(number, int) or not 0 < number < 256**3:
        raise DataError(
            f"{where}: a segment has id {number!r}, wanted a number from 1 to {256**3 - 1}; repair the file"
        )
    if category not in known:
        raise DataError(
            f"{where}: segment {number} has category_id {category!r}, which no category has; repair the file"
        )
    if segment.get("iscrowd", 0) not in (0, 1):
        raise DataError(f"{where}: segment {number} has iscrowd {segment['iscrowd']!r}, wanted 0 or 1; repair the file")


def _check_files(folder: Path, names: list[str], file: Path) -> None:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        few = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise DataError(
            f"{folder}: {len(missing)} of {len(names)} files of {file.name} are not in this folder ({few}); "
            "give the folder that every file_name starts from"
        )


def _segments(annotation: Record) -> Iterator[tuple[int, int, bool]]:
    for segment in annotation["segments_info"]:
        yield segment["id"], segment["category_id"], bool(segment.get("iscrowd", 0))


def _is_folder(path: str) -> bool:
    return Path(path).is_dir()


def _is_file(path: str) -> bool:
    return Path(path).is_file()
