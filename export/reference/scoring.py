"""The scores of the reference networks on scenes that they have not seen, boxes and masks by pycocotools.

Nothing here is the code that runs or scores bundles, except for how a mask of 28 x 28 is put over the picture.
"""

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms

from edgewright.export.box_transform import decode_boxes
from edgewright.export.reference.detector import decode
from edgewright.export.reference.losses import _image_list, normalized, semantic_logits
from edgewright.export.reference.scenes import Collection
from edgewright.runtime.conveyor import LABELS
from edgewright.runtime.masks import Grid, box_mask, run_counts

# As COCO detectors are scored: nearly every box counts, at most 100 in a picture.
CONFIDENCE, OVERLAP, MOST = 0.001, 0.65, 100
_REGION_OVERLAP = 0.5
_NAMES = (
    "AP", "AP50", "AP75", "AP-small", "AP-medium", "AP-large",
    "AR1", "AR10", "AR100", "AR-small", "AR-medium", "AR-large",
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What a network found in one picture, in pixels of the input: boxes (N, 4), scores (N,), class ids (N,), and perhaps
    the probabilities (N, m, m) of masks within the boxes."""

    boxes_xyxy: Tensor
    scores: Tensor
    class_ids: Tensor
    masks: Tensor | None = None


FindIn = Callable[[Any, Tensor, list[Tensor] | None], Found]


def box_scores(network: nn.Module, scenes: Collection, find: FindIn) -> dict[str, float]:
    """COCO's twelve numbers, and the AP of every label as `AP/label`; those of masks begin with `mask-`."""
    boxes: list[dict[str, Any]] = []
    masks: list[dict[str, Any]] = []
    for index in range(len(scenes)):
        batch = scenes.batch([index])
        with torch.no_grad():
            found = find(network, normalized(batch.pictures, scenes.spec), batch.regions)
        rows, segments = _results(index, found, scenes)
        boxes += rows
        masks += segments
    truth = ground_truth(scenes)
    scores = coco_score(truth, boxes, "bbox")
    if masks:
        scores |= {f"mask-{name}": value for name, value in coco_score(truth, masks, "segm").items()}
    return scores


def class_map_scores(network: nn.Module, scenes: Collection) -> dict[str, float]:
    """mIoU over all classes, Dice over the parts, and the IoU of every class, at the pixels of the pictures."""
    names = ("background", *LABELS)
    counts = np.zeros((len(names), len(names)), np.int64)
    for index in range(len(scenes)):
        batch, size_hw = scenes.batch([index]), tuple(scenes.owners.shape[1:])
        with torch.no_grad():
            logits = semantic_logits(network, normalized(batch.pictures, scenes.spec), size_hw)
        table = torch.cat([batch.truths[0].class_ids.new_zeros(1), batch.truths[0].class_ids + 1])
        pairs = table[scenes.owners[index].long()] * len(names) + logits[0].argmax(0)
        counts += torch.bincount(pairs.flatten(), minlength=counts.size).reshape(counts.shape).cpu().numpy()
    hits, either = np.diag(counts), counts.sum(0) + counts.sum(1)
    iou, dice = hits / (either - hits), 2 * hits / either
    means = {"mIoU": iou.mean(), "Dice": dice[1:].mean()}
    return {name: float(v) for name, v in {**means, **{f"IoU/{n}": v for n, v in zip(names, iou, strict=True)}}.items()}


def from_grid(network: nn.Module, inputs: Tensor, regions: list[Tensor] | None) -> Found:
    """What the anchor-free detector finds in one picture (1, 3, H, W)."""
    raw = network(inputs)
    boxes = decode(raw, (int(inputs.shape[2]), int(inputs.shape[3])))[0]
    return _suppressed(boxes[:, None], raw[0, :, 4:5].sigmoid() * raw[0, :, 5:].sigmoid(), OVERLAP)


def from_single_shot(network: Any, inputs: Tensor, regions: list[Tensor] | None) -> Found:
    """What torchvision's SSD finds."""
    features = list(network.backbone(inputs).values())
    images, outputs = _image_list(inputs), network.head(features)
    anchors = network.anchor_generator(images, features)
    return _from_torchvision(network.postprocess_detections(outputs, anchors, images.image_sizes)[0])


def from_two_stage(network: Any, inputs: Tensor, regions: list[Tensor] | None) -> Found:
    """What torchvision's Faster or Mask R-CNN finds."""
    features, images = network.backbone(inputs), _image_list(inputs)
    proposals, _ = network.rpn(images, features)
    detections, _ = network.roi_heads(features, proposals, images.image_sizes)
    return _from_torchvision(detections[0])


def from_regions(network: Any, inputs: Tensor, regions: list[Tensor] | None) -> Found:
    """What R-CNN or Fast R-CNN finds in the regions of one picture."""
    (proposed,) = regions or [inputs.new_zeros(0, 4)]
    logits, transforms = network(inputs, [proposed])
    boxes = decode_boxes(transforms.reshape(len(proposed), -1, 4), proposed[:, None], network.box_weights)
    return _suppressed(boxes, logits.softmax(1)[:, 1:], _REGION_OVERLAP)


def ground_truth(scenes: Collection) -> dict[str, Any]:
    """The scenes' objects as a COCO data set; areas are those of the masks, as COCO has them."""
    h, w = (int(side) for side in scenes.owners.shape[1:])
    annotations: list[dict[str, Any]] = []
    for index, count in enumerate(scenes.counts.tolist()):
        owners = scenes.owners[index].cpu().numpy()
        for number in range(count):
            pixels = owners == number + 1
            x1, y1, x2, y2 = scenes.boxes_xyxy[index, number].tolist()
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index,
                    "category_id": int(scenes.class_ids[index, number]) + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "segmentation": _encoded(pixels),
                    "area": int(pixels.sum()),
                    "iscrowd": 0,
                }
            )
    images = [{"id": index, "height": h, "width": w} for index in range(len(scenes))]
    categories = [{"id": i, "name": label} for i, label in enumerate(LABELS, start=1)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def coco_score(truth: dict[str, Any], results: list[dict[str, Any]], kind: str) -> dict[str, float]:
    """What pycocotools says of detections in COCO's format of results, of kind "bbox" or "segm"; 0 where there are none."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not results:
        return dict.fromkeys((*_NAMES, *(f"AP/{label}" for label in LABELS)), 0.0)
    # It reports its progress to stdout, where only results belong.
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = truth
        known.createIndex()
        evaluation = COCOeval(known, known.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    numbers = dict(zip(_NAMES, map(float, evaluation.stats), strict=True))
    precision = evaluation.eval["precision"][:, :, :, 0, 2]
    for class_index, label in enumerate(LABELS):
        numbers[f"AP/{label}"] = float(np.mean(precision[:, :, class_index]))
    return numbers


def _suppressed(boxes: Tensor, scores: Tensor, overlap: float) -> Found:
    """The best of boxes (N, C or 1, 4) with scores (N, C) after suppression within each class."""
    row, class_ids = (scores > CONFIDENCE).nonzero(as_tuple=True)
    every = boxes.expand(-1, scores.shape[1], -1)[row, class_ids]
    kept = batched_nms(every, scores[row, class_ids], class_ids, overlap)[:MOST]
    return Found(every[kept], scores[row, class_ids][kept], class_ids[kept])


def _from_torchvision(found: dict[str, Tensor]) -> Found:
    masks = found["masks"][:, 0] if "masks" in found else None
    return Found(found["boxes"], found["scores"], found["labels"] - 1, masks)


def _results(index: int, found: Found, scenes: Collection) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows for boxes and for masks in COCO's format of results."""
    in_picture = scenes.placement.to_image(found.boxes_xyxy.cpu().numpy())
    rows = [
        {"image_id": index, "category_id": class_id + 1, "score": score}
        for class_id, score in zip(found.class_ids.tolist(), found.scores.tolist(), strict=True)
    ]
    boxes = [
        {**row, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        for row, (x1, y1, x2, y2) in zip(rows, in_picture.tolist(), strict=True)
    ]
    if found.masks is None:
        return boxes, []
    size_hw = (int(scenes.owners.shape[1]), int(scenes.owners.shape[2]))
    masks = zip(rows, in_picture, found.masks.cpu().numpy(), strict=True)
    return boxes, [{**row, "segmentation": _pasted(mask, box, size_hw)} for row, box, mask in masks]


def _pasted(mask: Any, box: Any, size_hw: tuple[int, int]) -> dict[str, Any]:
    side, (x1, y1, x2, y2) = mask.shape[0], box
    scale = side / max(x2 - x1, 1e-3), side / max(y2 - y1, 1e-3)
    pixels = box_mask(mask, Grid(scale, (-x1 * scale[0], -y1 * scale[1])), box, size_hw, threshold=0.5)
    from pycocotools import mask as coco_mask

    counts = {"size": list(size_hw), "counts": run_counts(pixels, size_hw)}
    encoded: dict[str, Any] = coco_mask.frPyObjects(counts, *size_hw)
    return encoded


def _encoded(pixels: Any) -> dict[str, Any]:
    from pycocotools import mask as coco_mask

    encoded: dict[str, Any] = coco_mask.encode(np.asfortranarray(pixels.astype(np.uint8)))
    return encoded
