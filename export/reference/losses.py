"""How wrong each kind of reference network is about a batch: one number to learn from.

Torchvision's own losses are called piece by piece, since the pictures have their size already.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, smooth_l1_loss
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from edgewright.export.box_transform import encode_boxes
from edgewright.export.reference import detector_loss
from edgewright.export.reference.scenes import Batch, Truth
from edgewright.runtime.spec import PreprocessSpec

# Of the regions of a picture so many are judged, of them at most this share objects (Fast R-CNN, arXiv:1504.08083, section
# 2.3, has a quarter); an overlap of a half makes a region an object.
_JUDGED, _OBJECTS, _OVERLAP = 64, 0.33, 0.5
# Selective search misses objects: every one is proposed so many times more, moved by this share of its sides.
_COPIES, _JITTER = 4, 0.12
_MASK_WEIGHT = 2.0


def normalized(pictures: Tensor, spec: PreprocessSpec) -> Tensor:
    """Pictures (B, 3, H, W) BGR 0..255 as the network wants them."""
    values = (pictures.flip(1) if spec.color == "rgb" else pictures) * spec.scale
    mean, std = pictures.new_tensor(spec.mean), pictures.new_tensor(spec.std)
    return (values - mean[:, None, None]) / std[:, None, None]


def grid_loss(network: nn.Module, inputs: Tensor, batch: Batch) -> Tensor:
    """Of the anchor-free detector."""
    return detector_loss.loss(network(inputs), batch.truths, (int(inputs.shape[2]), int(inputs.shape[3])))


def semantic_loss(network: nn.Module, inputs: Tensor, batch: Batch) -> Tensor:
    """Cross entropy of every pixel's class, the logits enlarged to the input."""
    return cross_entropy(semantic_logits(network, inputs, tuple(inputs.shape[2:])), batch.class_maps)


def semantic_logits(network: nn.Module, inputs: Tensor, size_hw: tuple[int, ...]) -> Tensor:
    """Class logits (B, C, h, w) at any size."""
    result = network(inputs)
    logits = result["out"] if isinstance(result, dict) else result
    return interpolate(logits, size_hw, mode="bilinear", align_corners=False)


def single_shot_loss(network: Any, inputs: Tensor, batch: Batch) -> Tensor:
    """Of torchvision's SSD."""
    features = list(network.backbone(inputs).values())
    outputs = network.head(features)
    anchors = network.anchor_generator(_image_list(inputs), features)
    targets = _targets(batch.truths)
    matched = [
        network.proposal_matcher(box_iou(t["boxes"], a))
        if len(t["boxes"])
        else a.new_full((len(a),), -1, dtype=torch.long)
        for t, a in zip(targets, anchors, strict=True)
    ]
    return _sum(network.compute_loss(targets, outputs, anchors, matched))


def two_stage_loss(network: Any, inputs: Tensor, batch: Batch) -> Tensor:
    """Of torchvision's Faster and Mask R-CNN."""
    features, targets = network.backbone(inputs), _targets(batch.truths)
    if network.roi_heads.has_mask():
        for target, owners in zip(targets, batch.owners, strict=True):
            numbers = torch.arange(1, len(target["labels"]) + 1, device=owners.device)
            target["masks"] = _half_a_pixel_later((owners == numbers[:, None, None]).float())
    images = _image_list(inputs)
    proposals, first = network.rpn(images, features, targets)
    _, second = network.roi_heads(features, proposals, images.image_sizes, targets)
    if "loss_mask" in second:
        second["loss_mask"] = _MASK_WEIGHT * second["loss_mask"]
    return _sum(first) + _sum(second)


def region_loss(network: Any, inputs: Tensor, batch: Batch) -> Tensor:
    """Of R-CNN and Fast R-CNN: cross entropy of the regions' classes, smooth L1 of the objects' box transforms."""
    chosen = [_judged(r, t) for r, t in zip(batch.regions or [], batch.truths, strict=True)]
    regions, classes, boxes = (
        [c[0] for c in chosen],
        torch.cat([c[1] for c in chosen]),
        torch.cat([c[2] for c in chosen]),
    )
    logits, transforms = network(inputs, regions)
    objects = classes.nonzero().flatten()
    wanted = encode_boxes(boxes[objects], torch.cat(regions)[objects], network.box_weights)
    said = transforms.reshape(len(classes), -1, 4)[objects, classes[objects] - 1]
    box_loss = smooth_l1_loss(said, wanted, beta=1 / 9, reduction="sum") / len(classes)
    return cross_entropy(logits, classes) + box_loss


def _judged(regions: Tensor, truth: Truth) -> tuple[Tensor, Tensor, Tensor]:
    """Regions (K, 4), the class of each (K,), 0 for none, and the box (K, 4) of the object that it shows best."""
    if not len(truth.class_ids):
        some = regions[:_JUDGED]
        return some, truth.class_ids.new_zeros(len(some)), some
    objects = truth.boxes_xyxy.repeat(_COPIES, 1)
    sides = (objects[:, 2:] - objects[:, :2]).repeat(1, 2)
    moved = objects + _JITTER * sides * torch.randn_like(objects)
    every = torch.cat([regions, truth.boxes_xyxy, moved[(moved[:, 2:] > moved[:, :2] + 1).all(dim=1)]])
    best, which = box_iou(every, truth.boxes_xyxy).max(dim=1)
    order = torch.randperm(len(every), device=every.device)
    shows = best[order] >= _OVERLAP
    most = int(_JUDGED * _OBJECTS)
    objects_first = order[shows][:most]
    chosen = torch.cat([objects_first, order[~shows][: _JUDGED - len(objects_first)]])
    classes = torch.where(best[chosen] >= _OVERLAP, truth.class_ids[which[chosen]] + 1, 0)
    return every[chosen], classes, truth.boxes_xyxy[which[chosen]]


def _half_a_pixel_later(masks: Tensor) -> Tensor:
    """Masks (N, H, W) moved right and down: torchvision samples them half a pixel too far to the left and the top."""
    if not len(masks):
        return masks
    return torch.nn.functional.avg_pool2d(torch.nn.functional.pad(masks, (1, 0, 1, 0)), 2, 1)


def _image_list(inputs: Tensor) -> ImageList:
    return ImageList(inputs, [(int(inputs.shape[2]), int(inputs.shape[3]))] * len(inputs))


def _targets(truths: list[Truth]) -> list[dict[str, Tensor]]:
    return [{"boxes": truth.boxes_xyxy, "labels": truth.class_ids + 1} for truth in truths]


def _sum(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()
