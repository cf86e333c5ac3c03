"""Small COCO data sets on disk for tests: random pictures, and annotations that a test may spoil."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

SIZE_HW = (60, 80)


def coco_content() -> dict[str, Any]:
    """Two images of 80 x 60, three objects of two categories; ids and categories have gaps as in COCO."""
    images = [{"id": n, "file_name": f"{n:03d}.png", "width": SIZE_HW[1], "height": SIZE_HW[0]} for n in (7, 9)]
    return {
        "images": images,
        "categories": [{"id": 3, "name": "bolt"}, {"id": 5, "name": "nut"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 10, 20, 20], "area": 400.0, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 5, "bbox": [50, 0, 30, 60], "area": 1800.0, "iscrowd": 0},
            {"id": 4, "image_id": 9, "category_id": 3, "bbox": [0.5, 0.5, 12.25, 8], "area": 98.0, "iscrowd": 1},
        ],
    }


def write_coco(folder: Path, content: dict[str, Any] | None = None) -> str:
    """The URI of a data set below `folder`; its two pictures are always the same."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    for number in (7, 9):
        picture = np.random.default_rng(number).integers(0, 256, (*SIZE_HW, 3), np.uint8)
        cv2.imwrite(str(images / f"{number:03d}.png"), picture)
    (folder / "labels.json").write_text(json.dumps(coco_content() if content is None else content))
    return f"coco:{images}:{folder / 'labels.json'}"
