"""What must hold in a COCO annotation file before anything may be scored with it; a broken rule is a DataError."""

from collections import Counter
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from edgewright.runtime.errors import DataError

# Annotation tools round to whole pixels and count the last pixel in or out, so an edge may lie up to two pixels outside
# its image. What lies further out is a wrong box format, a wrong image size or a wrong image.
_SLACK_PIXELS = 2.0

Record = dict[str, Any]


def check_records(path: Path, content: Record, key: str) -> list[Record]:
    """The list `key` of the file; it must be there, hold something, and hold objects only."""
    records = content.get(key)
    if not isinstance(records, list):
        there = ", ".join(content) or "nothing"
        raise DataError(f"{path}: has no list '{key}' (it has: {there}); give a COCO annotation file")
    if not records:
        raise DataError(f"{path}: the list '{key}' is empty, so nothing can be scored; give a file that has {key}")
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise DataError(f"{path}: {key}[{number}] is a {type(record).__name__}, wanted an object; repair the file")
    return records


def check_named(path: Path, kind: str, records: list[Record], name: str) -> None:
    """Images and categories need a unique whole number as `id`, and a text `name` (categories: unique too)."""
    for number, record in enumerate(records):
        if not _is_whole(record.get("id")):
            raise DataError(
                f"{path}: {kind} {number} has id {record.get('id')!r}, wanted a whole number; number the ids"
            )
        if not isinstance(record.get(name), str) or not record[name]:
            got = record.get(name)
            raise DataError(f"{path}: {kind} {record['id']} has {name} {got!r}, wanted a text; repair the file")
    for key in ("id", name):
        twice = [value for value, count in Counter(record[key] for record in records).items() if count > 1]
        if twice:
            raise DataError(f"{path}: {kind} {key} {_few(twice)} appears more than once; every {kind} needs its own")


def check_annotations(path: Path, annotations: list[Record], kind: str, records: list[Record]) -> None:
    """Every annotation must belong to an image and to a category (`kind`) of the file."""
    key, known = f"{kind}_id", {record["id"] for record in records}
    lost = [a.get(key) for a in annotations if not _is_whole(a.get(key)) or a[key] not in known]
    if lost:
        raise DataError(
            f"{path}: {len(lost)} of {len(annotations)} annotations have {key} {_few(sorted(set(map(str, lost))))}, "
            f"which no {kind} has; the file lists {len(known)} {kind} ids such as {_few(sorted(known))}; "
            f"annotations and the {kind} list must belong together"
        )


def check_boxes(path: Path, annotations: list[Record], images: list[Record]) -> None:
    """Boxes must be four finite numbers x, y, width, height in pixels, with an area, inside their image."""
    for number, annotation in enumerate(annotations):
        box = annotation.get("bbox")
        if not (isinstance(box, list) and len(box) == 4 and all(is_number(value) for value in box)):
            where = f"annotations[{number}] (id {annotation.get('id')})"
            raise DataError(f"{path}: {where} has bbox {box!r}, wanted [x, y, width, height]; repair or remove it")
    boxes = np.array([annotation["bbox"] for annotation in annotations], np.float64)
    limits = np.array([stated_size(image) or (np.inf, np.inf) for image in images], np.float64)
    row = {image["id"]: number for number, image in enumerate(images)}
    limits = limits[[row[annotation["image_id"]] for annotation in annotations]]
    _check_fractions(path, boxes, limits)
    far_out = (boxes[:, :2] < -_SLACK_PIXELS) | (boxes[:, :2] + boxes[:, 2:] > limits + _SLACK_PIXELS)
    for bad, what, remedy in (
        (~np.isfinite(boxes), "NaN or infinite numbers in bbox", "repair or remove them"),
        (boxes[:, 2:] < 0, "a negative width or height", "bbox is [x, y, width, height]"),
        # pycocotools counts such a box as an object that no detection can ever find.
        (boxes[:, 2:] == 0, "a width or height of zero", "remove them, since nothing can match them"),
        (
            far_out,
            f"a box more than {_SLACK_PIXELS:.0f} pixels outside its image",
            "bbox is [x, y, width, height] in pixels: corners? another image size? else clip the boxes",
        ),
    ):
        _refuse(path, annotations, bad, limits, what, remedy)


def stated_size(image: Record) -> tuple[int, int] | None:
    """(width, height) of an image as the file states it, None where it does not."""
    width, height = image.get("width"), image.get("height")
    if not (is_number(width) and is_number(height) and width > 0 and height > 0):
        return None
    return int(width), int(height)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a JSON value is a number (true and false are not)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_fractions(path: Path, boxes: npt.NDArray[np.float64], limits: npt.NDArray[np.float64]) -> None:
    if len(boxes) > 1 and boxes.max() <= 1.0 and limits.min() > 1.0:
        raise DataError(f"{path}: all boxes lie within 0 and 1, as fractions of the image do; COCO boxes are in pixels")


def _refuse(
    path: Path,
    annotations: list[Record],
    bad: Any,
    limits: npt.NDArray[np.float64],
    what: str,
    remedy: str,
) -> None:
    rows = np.flatnonzero(bad.any(axis=1))
    if len(rows) == 0:
        return
    first, (width, height) = annotations[rows[0]], limits[rows[0]]
    size = f" of {width:.0f}x{height:.0f}" if np.isfinite(width) else ""
    raise DataError(
        f"{path}: {len(rows)} of {len(annotations)} annotations have {what}, the first is annotations[{rows[0]}] "
        f"(id {first.get('id')}) with bbox {first['bbox']} in image {first['image_id']}{size}; {remedy}"
    )


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _few(values: list[Any]) -> str:
    return ", ".join(str(value) for value in values[:3]) + (", ..." if len(values) > 3 else "")
