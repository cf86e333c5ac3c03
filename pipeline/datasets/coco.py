"""COCO annotations beside a folder of images: `coco:IMAGES_DIR:ANNOTATIONS.json`."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from edgewright.pipeline.datasets import BoxDataset, Category, Sample
from edgewright.pipeline.datasets._coco_checks import stated_size
from edgewright.pipeline.datasets._coco_json import has_unusual_ids, read_coco_json
from edgewright.pipeline.datasets._digests import image_sha256
from edgewright.pipeline.datasets._paths import split_paths
from edgewright.runtime.errors import DataError, UsageError
from edgewright.runtime.results import Image
from edgewright.runtime.sources.images import read_image

_WANTED = "coco:IMAGES_DIR:ANNOTATIONS.json"


@dataclass(frozen=True, eq=False)
class CocoDataset(BoxDataset):
    """Images in the order of the annotation file; checked when opened, images are decoded as they are asked for."""

    folder: Path
    file: Path
    content: dict[str, list[dict[str, Any]]]
    notes: tuple[str, ...] = ()

    @property
    def uri(self) -> str:
        return f"coco:{self.folder}:{self.file}"

    @cached_property
    def categories(self) -> tuple[Category, ...]:
        return tuple(Category(category["id"], category["name"]) for category in self.content["categories"])

    @cached_property
    def annotated(self) -> frozenset[int]:
        return frozenset(annotation["category_id"] for annotation in self.content["annotations"])

    @cached_property
    def digest(self) -> str:
        labels = defaultdict(list)
        for annotation in self.content["annotations"]:
            labels[annotation["image_id"]].append(_canonical(annotation))
        lines = [f"category {c.id} {c.name}" for c in sorted(self.categories, key=lambda c: c.id)]
        for image in sorted(self.content["images"], key=lambda image: int(image["id"])):
            lines.append(f"image {image['id']} {image_sha256(self.folder / image['file_name'])}")
            lines += sorted(labels[image["id"]])
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.content["images"])

    def __iter__(self) -> Iterator[Sample]:
        for image in self.content["images"]:
            path = self.folder / image["file_name"]
            yield Sample(image["id"], path, partial(_read_checked, path, image))

    def first(self, count: int) -> "CocoDataset":
        images = self.content["images"][:count]
        chosen = {image["id"] for image in images}
        annotations = [a for a in self.content["annotations"] if a["image_id"] in chosen]
        return replace(self, content={**self.content, "images": images, "annotations": annotations})

    def coco_ground_truth(self) -> dict[str, Any]:
        annotations = [
            {**annotation, "id": number} for number, annotation in enumerate(self.content["annotations"], start=1)
        ]
        return {"info": {}, **self.content, "annotations": annotations}


def load(arguments: str) -> CocoDataset:
    """The data set of `IMAGES_DIR:ANNOTATIONS.json`, checked as far as possible without decoding images."""
    folder, file = _split(arguments)
    if not folder.is_dir():
        problem = "is no folder" if folder.exists() else "there is no such image folder"
        raise DataError(f"{folder}: {problem}; the data are written {_WANTED}, check the order and the path")
    content = read_coco_json(file)
    missing = [image["file_name"] for image in content["images"] if not (folder / image["file_name"]).is_file()]
    if missing:
        few = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise DataError(
            f"{folder}: {len(missing)} of {len(content['images'])} images of {file.name} are not in this folder "
            f"({few}); give the folder that every file_name starts from"
        )
    return CocoDataset(folder, file, content, _notes(content))


def _notes(content: dict[str, list[dict[str, Any]]]) -> tuple[str, ...]:
    if has_unusual_ids(content["annotations"]):
        return ("annotation ids are missing, repeated or 0, so they were numbered anew; pycocotools would miscount",)
    return ()


def _split(arguments: str) -> tuple[Path, Path]:
    parts = split_paths(arguments, [lambda path: Path(path).is_dir(), lambda path: Path(path).is_file()])
    if parts is None:
        raise UsageError(f"data 'coco:{arguments}' needs an image folder and an annotation file; write {_WANTED}")
    return Path(parts[0]), Path(parts[1])


def _canonical(annotation: dict[str, Any]) -> str:
    """The label as text, the same for 3 and 3.0; ids and keys that carry no label are left out."""
    box = [float(value) for value in annotation["bbox"]]
    label = [
        annotation["category_id"],
        box,
        float(annotation["area"]),
        annotation["iscrowd"],
        annotation.get("segmentation"),
    ]
    return json.dumps(label, sort_keys=True, separators=(",", ":"))


def _read_checked(path: Path, record: dict[str, Any]) -> Image:
    image = read_image(path)
    got, wanted = (image.shape[1], image.shape[0]), stated_size(record)
    if wanted is not None and got != wanted:
        raise DataError(
            f"{path}: the image is {got[0]}x{got[1]}, the annotations were made on {wanted[0]}x{wanted[1]}; "
            "give the original images (an EXIF rotation counts as part of the image)"
        )
    return image
