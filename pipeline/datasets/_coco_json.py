"""COCO annotation files: read, checked and completed; what is wrong with one is said before anything is scored."""

import json
from pathlib import Path
from typing import Any

from edgewright.pipeline.datasets._coco_checks import (
    check_annotations,
    check_boxes,
    check_named,
    check_records,
    is_number,
)
from edgewright.runtime.errors import DataError

Record = dict[str, Any]


def read_coco_json(path: Path) -> Record:
    """The lists `images`, `categories` and `annotations`, these with area and iscrowd; DataError for any defect."""
    content = load_json_object(path)
    images = check_records(path, content, "images")
    categories = check_records(path, content, "categories")
    annotations = check_records(path, content, "annotations")
    check_named(path, "image", images, "file_name")
    check_named(path, "category", categories, "name")
    check_annotations(path, annotations, "image", images)
    check_annotations(path, annotations, "category", categories)
    check_boxes(path, annotations, images)
    return {
        "images": images,
        "categories": categories,
        "annotations": [_completed(path, number, annotation) for number, annotation in enumerate(annotations)],
    }


def has_unusual_ids(annotations: list[Record]) -> bool:
    """Whether annotation ids are missing, repeated or 0, where pycocotools would count matches wrongly."""
    ids = [annotation.get("id") for annotation in annotations]
    return None in ids or 0 in ids or len(set(map(str, ids))) < len(ids)


def load_json_object(path: Path) -> Record:
    """The object in a JSON file; DataError with the line when it is none."""
    text = _read_text(path)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as err:
        if err.pos >= len(text.rstrip()) or err.msg.startswith("Unterminated string"):
            raise DataError(
                f"{path}: the annotation file is cut short after {len(text)} characters; copy it again"
            ) from err
        where = f"line {err.lineno}, column {err.colno}"
        raise DataError(f"{path}: the annotation file is not JSON ({where}: {err.msg}); give a COCO JSON file") from err
    except RecursionError as err:
        raise DataError(f"{path}: the JSON is nested too deeply for annotations; give a COCO JSON file") from err
    if not isinstance(content, dict):
        hint = ", as detections do" if isinstance(content, list) else ""
        raise DataError(
            f"{path}: holds a JSON {type(content).__name__}{hint}; "
            "give the annotation file, an object with images, annotations and categories"
        )
    return content


def _read_text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as err:
        raise DataError(f"{path}: there is no such annotation file; check the path") from err
    except OSError as err:
        raise DataError(f"{path}: the annotation file cannot be read ({err.strerror}); give a COCO JSON file") from err
    except UnicodeDecodeError as err:
        raise DataError(f"{path}: the annotation file is not text; give a COCO JSON file, unpacked") from err
    if not text.strip():
        raise DataError(f"{path}: the annotation file is empty; export the annotations again")
    return text


def _completed(path: Path, number: int, annotation: Record) -> Record:
    """The annotation with `iscrowd` and `area`, which files made by other tools often lack."""
    where = f"{path}: annotations[{number}] (id {annotation.get('id')})"
    crowd, area = annotation.get("iscrowd", 0), annotation.get("area")
    if crowd not in (0, 1):
        raise DataError(f"{where} has iscrowd {crowd!r}, wanted 0 or 1; repair the file")
    if area is None:
        area = annotation["bbox"][2] * annotation["bbox"][3]
    elif not (is_number(area) and area >= 0):
        raise DataError(f"{where} has area {area!r}, wanted square pixels; repair it, or leave it out to use the box")
    return {**annotation, "iscrowd": int(crowd), "area": area}
