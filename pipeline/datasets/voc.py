"""PASCAL VOC: XML annotations beside JPEGImages and ImageSets: `voc:ROOT[:SPLIT]`."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import cv2
import numpy as np
import numpy.typing as npt

from edgewright.pipeline.datasets import Category, MaskDataset
from edgewright.pipeline.datasets._class_mask import read_class_mask
from edgewright.pipeline.datasets._coco_checks import check_boxes
from edgewright.pipeline.datasets._digests import image_sha256
from edgewright.pipeline.datasets._image_size import image_size
from edgewright.pipeline.datasets._paths import read_list
from edgewright.pipeline.datasets._safe_xml import line_of, read_xml
from edgewright.pipeline.datasets.coco import CocoDataset
from edgewright.runtime.errors import DataError
from edgewright.runtime.masks import run_counts
from edgewright.runtime.results import BoxMask
from edgewright.runtime.sources import IMAGE_SUFFIXES

_WANTED = "voc:ROOT[:SPLIT]"
_SUFFIXES = (".jpg", *sorted(IMAGE_SUFFIXES - {".jpg"}))
# VOCinit.m of the development kit: class k of its masks is the k-th of these.
_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse"),
    *("motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)  # fmt: skip
Record = dict[str, Any]


@dataclass(frozen=True, eq=False)
class VocDataset(CocoDataset, MaskDataset):
    """The images of a split in its order; image ids count from 1, `difficult` objects are crowds.

    `folder` is the root, `file` the list of the split. Class masks are those of SegmentationClass; where every image has a
    mask in SegmentationObject, objects have masks too.
    """

    is_numbered = False

    @property
    def uri(self) -> str:
        return (
            f"voc:{self.folder}" if self.file.is_dir() else f"voc:{self.folder}:{_split_name(self.folder, self.file)}"
        )

    @property
    def classes(self) -> tuple[Category, ...]:
        names = (c.name for c in self.categories)
        return tuple(Category(k, name) for k, name in enumerate(("background", *names)))

    @cached_property
    def digest(self) -> str:
        masks = [path for stem in self._stems for kind in ("Class", "Object") for path in [self._mask(kind, stem)]]
        lines = [super().digest, *(image_sha256(path) for path in masks if path.is_file())]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest() if len(lines) > 1 else lines[0]

    def first(self, count: int) -> "VocDataset":
        return replace(self, content=super().first(count).content)

    @property
    def _stems(self) -> list[str]:
        return [Path(image["file_name"]).stem for image in self.content["images"]]

    def class_mask(self, image_id: int) -> npt.NDArray[np.integer[Any]]:
        stem = next(Path(i["file_name"]).stem for i in self.content["images"] if i["id"] == image_id)
        return read_class_mask(self._mask("Class", stem))

    def coco_ground_truth(self) -> Record:
        truth = super().coco_ground_truth()
        masks = self._object_masks
        return {**truth, "annotations": [{**a, **m} for a, m in zip(truth["annotations"], masks, strict=True)]}

    @cached_property
    def _object_masks(self) -> list[Record]:
        """`segmentation` of every annotation; nothing where an image lacks its mask."""
        if not all(self._mask("Object", stem).is_file() for stem in self._stems):
            return [{} for _ in self.content["annotations"]]
        of_image: dict[int, list[Record]] = {image["id"]: [] for image in self.content["images"]}
        for annotation in self.content["annotations"]:
            of_image[annotation["image_id"]].append(annotation)
        paths = [self._mask("Object", stem) for stem in self._stems]
        return [
            mask
            for path, annotations in zip(paths, of_image.values(), strict=True)
            for mask in _masks_of(path, len(annotations))
        ]

    def _mask(self, kind: str, stem: str) -> Path:
        return self.folder / f"Segmentation{kind}" / f"{stem}.png"


def load(arguments: str) -> VocDataset:
    """The data set of `ROOT[:SPLIT]`, split `val` by default, every annotation read and checked.

    A split is a file of ImageSets/Main, or `Segmentation/val`; without ImageSets all annotations are read.
    """
    root, split = _split(arguments)
    for name in ("Annotations", "JPEGImages"):
        if not (root / name).is_dir():
            raise DataError(
                f"{root}: has no folder {name}; give the folder that holds Annotations and JPEGImages ({_WANTED})"
            )
    file = _list_of(root, split)
    stems = _stems(root, file)
    annotations: list[Record] = []
    images = []
    for number, stem in enumerate(stems, start=1):
        path = root / "Annotations" / f"{stem}.xml"
        tree = read_xml(path)
        if tree.tag != "annotation":
            raise DataError(
                f"{path}: the XML is a <{tree.tag}>, wanted an <annotation> of PASCAL VOC; give another file"
            )
        images.append({"id": number, **_image(root, stem, tree, path)})
        annotations += [{"image_id": number, **found} for found in _objects(tree, path)]
    if not annotations:
        raise DataError(
            f"{file}: none of its {len(images)} images has an object, so nothing can be scored; give another split"
        )
    categories = _categories({annotation["name"] for annotation in annotations})
    ids = {category["name"]: category["id"] for category in categories}
    named = [{"id": n, **a, "category_id": ids[a.pop("name")]} for n, a in enumerate(annotations, start=1)]
    check_boxes(root / "Annotations", named, images)
    content = {"images": images, "categories": categories, "annotations": named}
    return VocDataset(root, file, content, _notes(named))


def _split(arguments: str) -> tuple[Path, str | None]:
    """A root may contain ':' itself."""
    root, _, split = arguments.rpartition(":")
    if Path(arguments).is_dir() or not root:
        return Path(arguments), None
    return Path(root), split


def _list_of(root: Path, split: str | None) -> Path:
    """The file that lists the split's images, or the folder of annotations where there are no splits."""
    sets = root / "ImageSets"
    if not sets.is_dir() and split is None:
        return root / "Annotations"
    name = split or "val"
    file = sets / f"{name}.txt" if "/" in name else sets / "Main" / f"{name}.txt"
    if not file.is_file():
        known = sorted(
            _split_name(root, path) for folder in ("Main", "Segmentation") for path in (sets / folder).glob("*.txt")
        )
        listed = ", ".join([name for name in known if "_" not in name][:10]) or "none"
        raise DataError(f"{root}: has no split '{name}' ({file} is missing); there are: {listed}; write {_WANTED}")
    return file


def _split_name(root: Path, file: Path) -> str:
    name = file.relative_to(root / "ImageSets").with_suffix("").as_posix()
    return name.removeprefix("Main/")


def _stems(root: Path, file: Path) -> list[str]:
    if file.is_dir():
        return sorted(path.stem for path in file.glob("*.xml"))
    # Lists of one class, such as dog_val, say 1, 0 or -1 behind the name.
    stems = [line.split()[0] for line in read_list(file) if line.strip()]
    if not stems:
        raise DataError(f"{file}: the list of images is empty; give another split")
    twice = {stem for stem in stems if stems.count(stem) > 1} if len(set(stems)) < len(stems) else set()
    if twice:
        raise DataError(f"{file}: lists '{min(twice)}' more than once; every image counts once")
    return stems


def _image(root: Path, stem: str, tree: Element, path: Path) -> Record:
    found = next((file for suffix in _SUFFIXES if (file := root / "JPEGImages" / f"{stem}{suffix}").is_file()), None)
    if found is None:
        raise DataError(f"{root / 'JPEGImages'}: has no image '{stem}', which {path} belongs to; complete the images")
    width, height = (tree.findtext(f"size/{side}", "").strip() for side in ("width", "height"))
    stated = (int(width), int(height)) if width.isdecimal() and height.isdecimal() else (0, 0)
    # Some tools write a size of 0.
    width_px, height_px = stated if min(stated) > 0 else image_size(found)
    return {"file_name": str(found.relative_to(root)), "width": width_px, "height": height_px}


def _objects(tree: Element, path: Path) -> Iterator[Record]:
    for found in tree.findall("object"):
        where = f"{path}:{line_of(found)}"
        name, box = found.findtext("name", "").strip(), found.find("bndbox")
        if not name:
            raise DataError(f"{where}: the object has no name; repair the file")
        if box is None:
            raise DataError(f"{where}: the {name} has no bndbox; repair the file")
        x1, y1, x2, y2 = (_number(box, key, path) for key in ("xmin", "ymin", "xmax", "ymax"))
        if x2 < x1 or y2 < y1:
            raise DataError(
                f"{path}:{line_of(box)}: the {name} reaches from {x1:g}, {y1:g} to {x2:g}, {y2:g}, wanted xmin <= xmax and "
                "ymin <= ymax; repair the file"
            )
        difficult = found.findtext("difficult", "0").strip()
        if difficult not in ("", "0", "1"):
            raise DataError(f"{where}: the {name} has difficult '{difficult}', wanted 0 or 1; repair the file")
        # The first and the last pixel are counted from 1, and both belong to the object.
        width, height = x2 - x1 + 1, y2 - y1 + 1
        yield {
            "name": name,
            "bbox": [x1 - 1, y1 - 1, width, height],
            "area": width * height,
            "iscrowd": int(difficult == "1"),
            "difficult": int(difficult == "1"),
        }


def _number(box: Element, key: str, path: Path) -> float:
    element = box.find(key)
    text = "" if element is None else (element.text or "").strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        line = line_of(box if element is None else element)
        raise DataError(f"{path}:{line}: {key} is '{text}', wanted a number of pixels; repair the file")
    return value


def _categories(names: set[str]) -> list[Record]:
    """VOC's classes in its order where there are no others, else by the alphabet."""
    ordered = _CLASSES if names <= set(_CLASSES) else sorted(names)
    return [{"id": number, "name": name} for number, name in enumerate(ordered, start=1)]


def _notes(annotations: list[Record]) -> tuple[str, ...]:
    difficult = sum(annotation["difficult"] for annotation in annotations)
    what = "are marked as difficult: they need not be found, and COCO's measurements take them for crowds"
    return (f"{difficult} objects {what}",) if difficult else ()


def _masks_of(path: Path, objects: int) -> Iterator[Record]:
    """Object k of the annotation has the number k in the mask; 0 is background, 255 an undecided border."""
    ids = read_class_mask(path)
    size_hw = (ids.shape[0], ids.shape[1])
    for number in range(1, objects + 1):
        pixels = ids == number
        left, top, width, height = cv2.boundingRect(pixels.astype(np.uint8))
        mask = BoxMask((left, top), pixels[top : top + height, left : left + width])
        yield {
            "segmentation": {"size": list(size_hw), "counts": run_counts(mask, size_hw)},
            "area": float(np.count_nonzero(pixels)),
        }
