"""Ultralytics' layout, a YAML file, folders of images and of text labels in fractions: `yolo:DATA.yaml[:SPLIT]`."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from edgewright.pipeline.datasets._image_size import image_size
from edgewright.pipeline.datasets._paths import read_list
from edgewright.pipeline.datasets.coco import CocoDataset
from edgewright.pipeline.yaml_file import load_yaml
from edgewright.runtime.errors import DataError
from edgewright.runtime.sources import IMAGE_SUFFIXES
from edgewright.runtime.sources.images import natural_key

_WANTED = "yolo:DATA.yaml[:SPLIT]"
_SPLITS = ("val", "test", "train")
# Rounding in the tools that write fractions; Ultralytics allows as much (data/utils.py, verify_image_label).
_SLACK = 0.01
Record = dict[str, Any]


def _as_names(value: Any) -> Any:
    """A list or a mapping of names, which YAML may have read as numbers or truths."""
    if isinstance(value, list):
        return {number: str(name) for number, name in enumerate(value)}
    return {number: str(name) for number, name in value.items()} if isinstance(value, dict) else value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_Places = Annotated[list[str] | None, BeforeValidator(_as_list)]


class _Data(BaseModel):
    """The keys of the YAML file that say where images are and what they show; others are for training."""

    model_config = ConfigDict(extra="ignore")

    names: Annotated[dict[int, str], BeforeValidator(_as_names)]
    path: str | None = None
    nc: int | None = None
    train: _Places = None
    val: _Places = None
    test: _Places = None


@dataclass(frozen=True, eq=False)
class YoloDataset(CocoDataset):
    """The images of a split in natural order; image ids count from 1, category ids are the class numbers of the files.

    `folder` is the root of the data, `file` the YAML file.
    """

    split: str = field(default="val", kw_only=True)
    is_numbered = False

    @property
    def uri(self) -> str:
        return f"yolo:{self.file}:{self.split}"


def load(arguments: str) -> YoloDataset:
    """The data set of `DATA.yaml[:SPLIT]`, split `val` by default, every label read and checked."""
    file, split = _split(arguments)
    data = load_yaml(file, _Data)
    categories = _categories(file, data)
    root = _root(file, data)
    paths = list(dict.fromkeys(path for place in _places(file, data, split) for path in _images(file, root, place)))
    images, annotations, without, repeated = [], [], 0, 0
    for number, path in enumerate(paths, start=1):
        width, height = image_size(path)
        images.append({"id": number, "file_name": str(path.absolute()), "width": width, "height": height})
        labels = label_path(path)
        without += not labels.is_file()
        found = list(_objects(labels, (width, height), len(categories))) if labels.is_file() else []
        # Ultralytics trains on each of equal lines once.
        unique = list({str(one): one for one in found}.values())
        repeated += len(found) - len(unique)
        annotations += [{"image_id": number, **one} for one in unique]
    if not annotations:
        raise DataError(
            f"{file}: none of the {len(images)} images of '{split}' has an object; labels are searched at paths such as "
            f"{label_path(paths[0])}"
        )
    numbered = [{"id": number, **annotation} for number, annotation in enumerate(annotations, start=1)]
    content = {"images": images, "categories": categories, "annotations": numbered}
    return YoloDataset(root, file, content, _notes(without, repeated), split=split)


def label_path(image: Path) -> Path:
    """Where the labels of an image lie: the last folder `images` of its path is `labels`, else beside it."""
    parts = list(image.parent.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts) / f"{image.stem}.txt"


def _split(arguments: str) -> tuple[Path, str]:
    file, _, split = arguments.rpartition(":")
    if not file or Path(arguments).is_file():
        return Path(arguments), "val"
    if split not in _SPLITS:
        # `C:\data.yaml`, or a name that is wrong.
        return Path(arguments), "val"
    return Path(file), split


def _categories(file: Path, data: _Data) -> list[Record]:
    if sorted(data.names) != list(range(len(data.names))) or not data.names:
        raise DataError(f"{file}: names are numbered {sorted(data.names)[:10]}, wanted 0, 1, 2, ... without gaps")
    if data.nc is not None and data.nc != len(data.names):
        raise DataError(f"{file}: nc is {data.nc}, but there are {len(data.names)} names; correct one of them")
    return [{"id": number, "name": data.names[number]} for number in range(len(data.names))]


def _root(file: Path, data: _Data) -> Path:
    """`path` is relative to the file, or to the working directory; without it, the file's folder."""
    places = [file.parent / data.path, Path(data.path)] if data.path else [file.parent]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise DataError(f"{file}: path is '{data.path}', and there is no such folder at {places[0]}; correct it")
    return found


def _places(file: Path, data: _Data, split: str) -> list[str]:
    places: list[str] | None = getattr(data, split)
    if not places:
        known = ", ".join(name for name in _SPLITS if getattr(data, name)) or "none"
        raise DataError(f"{file}: has no split '{split}'; there are: {known}; write {_WANTED}")
    return places


def _images(file: Path, root: Path, place: str) -> Iterator[Path]:
    """The images of a folder and its subfolders, or of a list in a text file."""
    found = root / place
    if not found.exists() and place.startswith("../"):
        # Exports of Roboflow say ../valid/images and mean valid/images.
        found = root / place[3:]
    if found.is_dir():
        pictures = (path for path in found.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
        paths = sorted((path for path in pictures if not path.name.startswith(".")), key=natural_key)
    elif found.is_file():
        lines = enumerate(read_list(found), start=1)
        paths = [_listed(found, number, line.strip()) for number, line in lines if line.strip()]
    else:
        raise DataError(f"{file}: names the images '{place}', and there is nothing at {found}; correct it or `path`")
    if not paths:
        raise DataError(f"{found}: holds no images; correct `path` or the split in {file}")
    yield from paths


def _listed(file: Path, number: int, line: str) -> Path:
    path = file.parent / line
    if not path.is_file():
        raise DataError(f"{file}:{number}: there is no image {path}; correct the list")
    return path


def _objects(path: Path, size: tuple[int, int], classes: int) -> Iterator[Record]:
    for number, line in enumerate(read_list(path), start=1):
        if line.strip():
            yield _object(f"{path}:{number}", line.split(), size, classes)


def _object(where: str, words: list[str], size: tuple[int, int], classes: int) -> Record:
    """A box `class x y w h` by its centre, or a polygon `class x y x y x y ...`, both in fractions of the image."""
    values = [_number(where, word) for word in words]
    if len(values) != 5 and (len(values) < 7 or len(values) % 2 == 0):
        raise DataError(
            f"{where}: {len(values)} values, wanted 5 (class x y width height) or an odd number from 7 on (class and the "
            "points of a polygon); repair the line"
        )
    class_id, fractions = int(values[0]), values[1:]
    if class_id != values[0] or not 0 <= class_id < classes:
        raise DataError(f"{where}: class {words[0]}, wanted a whole number from 0 to {classes - 1}; repair the line")
    if min(fractions) < -_SLACK or max(fractions) > 1 + _SLACK:
        worst = min(fractions) if min(fractions) < -_SLACK else max(fractions)
        raise DataError(f"{where}: holds {worst:g}, wanted fractions of the image from 0 to 1; repair the line")
    return {"category_id": class_id, "iscrowd": 0, **(_box if len(values) == 5 else _polygon)(where, fractions, size)}


def _number(where: str, word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: '{word}' is no number; repair the line")
    return value


def _box(where: str, fractions: list[float], size: tuple[int, int]) -> Record:
    (x, y, w, h), (width, height) = fractions, size
    if w <= 0 or h <= 0:
        raise DataError(f"{where}: the box is {w:g} wide and {h:g} high, which nothing can match; remove the line")
    return {"bbox": [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height], "area": w * width * h * height}


def _polygon(where: str, fractions: list[float], size: tuple[int, int]) -> Record:
    """A polygon with its bounding box; its area is that which its border encloses."""
    xs, ys = ([value * side for value in fractions[axis::2]] for axis, side in enumerate(size))
    box = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
    if box[2] <= 0 or box[3] <= 0:
        raise DataError(f"{where}: the polygon has no extent, which nothing can match; remove the line")
    crossed = (x * ys[k - 1] - xs[k - 1] * y for k, (x, y) in enumerate(zip(xs, ys, strict=True)))
    ring = [value for point in zip(xs, ys, strict=True) for value in point]
    return {"bbox": box, "area": abs(sum(crossed)) / 2, "segmentation": [ring]}


def _notes(without: int, repeated: int) -> tuple[str, ...]:
    notes = [f"{without} images have no label file, so they count as images without objects"] if without else []
    return (*notes, *([f"{repeated} labels are repeated in their file and count once"] if repeated else []))
