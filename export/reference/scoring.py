"""The score of the reference detector on scenes that it has not seen, by pycocotools."""

import contextlib
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import batched_nms

from edgewright.export.reference.network import PREPROCESS, Detector, decode
from edgewright.export.reference.scenes import Scene
from edgewright.runtime.conveyor import LABELS

# As COCO detectors are scored: nearly every box counts, at most 100 in a picture.
CONFIDENCE, OVERLAP, MOST = 0.001, 0.65, 100
_NAMES = (
    "AP",
    "AP50",
    "AP75",
    "AP-small",
    "AP-medium",
    "AP-large",
    "AR1",
    "AR10",
    "AR100",
    "AR-small",
    "AR-medium",
    "AR-large",
)


def score(detector: Detector, scenes: Sequence[Scene]) -> dict[str, float]:
    """COCO's twelve numbers, and the AP of every label as `AP/label`."""
    results: list[dict[str, Any]] = []
    with torch.no_grad():
        for image_id, scene in enumerate(scenes, start=1):
            raw = detector(torch.from_numpy(scene.tensor[None]).float())
            results += _results(image_id, raw, scene)
    return coco_score(ground_truth(scenes), results)


def ground_truth(scenes: Iterable[Scene]) -> dict[str, Any]:
    """The scenes' objects as a COCO data set; areas are those of the masks, as COCO has them."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, scene in enumerate(scenes, start=1):
        h, w = scene.placement.source_hw
        images.append({"id": image_id, "height": h, "width": w})
        boxes = scene.placement.to_image(scene.boxes_xyxy)
        for box, class_id, area in zip(boxes.tolist(), scene.class_ids.tolist(), scene.areas.tolist(), strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": class_id + 1,
                    "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                    "area": area,
                    "iscrowd": 0,
                }
            )
    categories = [{"id": i, "name": label} for i, label in enumerate(LABELS, start=1)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def coco_score(truth: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, float]:
    """What pycocotools says of detections in COCO's format of results."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    # It reports its progress to stdout, where only results belong.
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = truth
        known.createIndex()
        evaluation = COCOeval(known, known.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    numbers = dict(zip(_NAMES, map(float, evaluation.stats), strict=True))
    precision = evaluation.eval["precision"][:, :, :, 0, 2]
    for class_index, label in enumerate(LABELS):
        numbers[f"AP/{label}"] = float(np.mean(precision[:, :, class_index]))
    return numbers


def _results(image_id: int, raw: Tensor, scene: Scene) -> list[dict[str, Any]]:
    boxes = decode(raw, PREPROCESS.size_hw)[0]
    scores = raw[0, :, 4:5].sigmoid() * raw[0, :, 5:].sigmoid()
    cell, class_ids = (scores > CONFIDENCE).nonzero(as_tuple=True)
    kept = batched_nms(boxes[cell], scores[cell, class_ids], class_ids, OVERLAP)[:MOST]
    in_picture = scene.placement.to_image(boxes[cell[kept]].numpy())
    return [
        {
            "image_id": image_id,
            "category_id": class_id + 1,
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "score": value,
        }
        for box, class_id, value in zip(
            in_picture.tolist(), class_ids[kept].tolist(), scores[cell, class_ids][kept].tolist(), strict=True
        )
    ]
