"""Which cells answer for which object, and how wrong they are."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from edgewright.export.reference.detector import cells, decode
from edgewright.export.reference.scenes import Truth

# How far from an object's middle a cell may answer for it, in strides, and how many cells do.
_REACH = 1.75
_CELLS_PER_OBJECT = 8
# An object of so many strides fits a grid best.
_FITTING_SIZE = 4.0
_BOX_WEIGHT = 4.0


def loss(raw: Tensor, truths: list[Truth], size_hw: tuple[int, int]) -> Tensor:
    """The mean loss per answering cell: 1 - GIoU of the boxes, cross entropy of objects and classes.

    The probability of an object is asked to equal the overlap of its box, so that good boxes rank first.
    """
    boxes = decode(raw, size_hw)
    wanted = torch.zeros_like(raw[..., 4])
    box_loss, class_loss, answering = raw.new_zeros(()), raw.new_zeros(()), 0
    for picture, truth in enumerate(truths):
        chosen, target = assign(raw[picture].detach(), boxes[picture].detach(), truth, size_hw)
        if len(chosen) == 0:
            continue
        overlap, generalized = _overlaps(boxes[picture, chosen], truth.boxes_xyxy[target])
        wanted[picture, chosen] = overlap.detach().clamp(min=0.05)
        classes = raw[picture, chosen, 5:]
        one_hot = torch.nn.functional.one_hot(truth.class_ids[target], classes.shape[1]).to(classes)
        box_loss = box_loss + (1 - generalized).sum()
        class_loss = class_loss + cross_entropy(classes, one_hot, reduction="sum")
        answering += len(chosen)
    object_loss = cross_entropy(raw[..., 4], wanted, reduction="sum")
    return (_BOX_WEIGHT * box_loss + class_loss + object_loss) / max(answering, 1)


def assign(raw: Tensor, boxes: Tensor, truth: Truth, size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The cells (P,) that answer for an object, and the object (P,) of each; a cell answers for one at most.

    Of the cells near its middle an object takes those that fit its size and already predict it best.
    """
    if len(truth.boxes_xyxy) == 0:
        nothing = torch.zeros(0, dtype=torch.long, device=raw.device)
        return nothing, nothing
    places, strides = cells(size_hw, raw.device)
    middles, sizes = (
        (truth.boxes_xyxy[:, :2] + truth.boxes_xyxy[:, 2:]) / 2,
        truth.boxes_xyxy[:, 2:] - truth.boxes_xyxy[:, :2],
    )
    away = (middles[:, None] - (places + 0.5) * strides[:, None]).abs().amax(dim=2) / strides
    misfit = torch.log2(sizes.prod(dim=1).clamp(min=1).sqrt()[:, None] / (_FITTING_SIZE * strides))
    score = (raw[:, 4].sigmoid() * raw[:, 5:].sigmoid()[:, truth.class_ids].T).sqrt()
    overlap = _pairwise_overlap(truth.boxes_xyxy, boxes)
    merit = torch.exp(-misfit * misfit / 2) * (0.1 + score) * (0.05 + overlap * overlap) / (1 + away * away)
    merit = merit * (away < _REACH)
    best, chosen = merit.topk(_CELLS_PER_OBJECT, dim=1)
    kept = torch.zeros_like(merit).scatter_(1, chosen, best)
    merit_of_cell, object_of_cell = kept.max(dim=0)
    answering = merit_of_cell.nonzero().flatten()
    return answering, object_of_cell[answering]


def _overlaps(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union, and its generalization that also sees boxes which do not meet (arXiv:1902.09630)."""
    low, high = torch.maximum(boxes[:, :2], others[:, :2]), torch.minimum(boxes[:, 2:], others[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=1)
    union = _area(boxes) + _area(others) - shared
    hull = torch.maximum(boxes[:, 2:], others[:, 2:]) - torch.minimum(boxes[:, :2], others[:, :2])
    overlap, whole = shared / union.clamp(min=1e-6), hull.prod(dim=1).clamp(min=1e-6)
    return overlap, overlap - (whole - union) / whole


def _pairwise_overlap(boxes: Tensor, others: Tensor) -> Tensor:
    low = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(dim=2)
    return shared / (_area(boxes)[:, None] + _area(others)[None] - shared).clamp(min=1e-6)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
