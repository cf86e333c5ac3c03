"""Greedy non-maximum suppression as a fixed number of matrix products: exact, of fixed shape, without an NMS operator."""

from typing import Any

import torch

# Boxes are settled block by block, best first: one product with the rest of the boxes tells later blocks what is gone, so the
# rounds see the pairs of one block only, which fit into a processor's cache.
_BLOCK = 250
# Round r settles every box of a block at the end of a chain of r suppressions (see runtime/nms/hard.py). Random crowds of 1,000
# boxes have chains of up to 10 in a block of 250.
_ROUNDS = 16


def keep_mask(boxes: Any, valid: Any, iou_threshold: float, *, same: Any = None) -> Any:
    """1 for boxes that remain and 0 for others, (..., N) float.

    Boxes (..., N, 4) x1 y1 x2 y2 come best first, `valid` (..., N) is 0 for those that are none; `same` (..., N, N) is 1 for
    pairs that may suppress each other, None for all.
    """
    alive, kept = valid.unsqueeze(-2), []
    for start in range(0, valid.shape[-1], _BLOCK):
        stop = min(start + _BLOCK, valid.shape[-1])
        suppresses = _overlap(boxes[..., start:stop, :], boxes[..., start:, :], iou_threshold).to(boxes.dtype)
        if same is not None:
            suppresses = suppresses * same[..., start:stop, start:]
        size = stop - start
        kept.append(_settled(alive[..., :size], suppresses[..., :size]))
        alive = _without(alive[..., size:], kept[-1], suppresses[..., size:])
    return torch.cat(kept, -1).squeeze(-2)


def _settled(alive: Any, suppresses: Any) -> Any:
    """Which boxes (..., 1, B) of a block remain, of those that are `alive`."""
    later = torch.triu(suppresses, diagonal=1)
    keep = alive
    for _ in range(min(_ROUNDS, alive.shape[-1] - 1)):
        keep = _without(alive, keep, later)
    return keep


def _without(alive: Any, keep: Any, suppresses: Any) -> Any:
    """`alive` (..., 1, N) less what boxes of `keep` (..., 1, B) suppress: a count of 0 leaves 1, any other leaves 0."""
    return torch.relu(alive - torch.matmul(keep, suppresses))


def best_first(values: Any, count: int) -> tuple[Any, Any]:
    """The `count` largest of values (N,) and their indices, among equals the first one first.

    Equals are common: every cell of a blank image scores alike, and the sigmoid of any large logit is 1. ONNX's TopK keeps
    their order by definition, torch's does not.
    """
    if torch.onnx.is_in_onnx_export() or torch.compiler.is_compiling():
        best, index = torch.topk(values, count)
        return best, index
    ranked, order = torch.sort(values, stable=True, descending=True)
    return ranked[:count], order[:count]


def _overlap(boxes: Any, others: Any, iou_threshold: float) -> Any:
    """Whether IoU > threshold for each of boxes (..., B, 4) with each of others (..., N, 4), (..., B, N).

    Asked as intersection > threshold * union: no division, so no NaN for empty boxes.
    """
    left, top, right, bottom = (side.unsqueeze(-1) for side in boxes.unbind(-1))
    x1, y1, x2, y2 = (side.unsqueeze(-2) for side in others.unbind(-1))
    width = torch.minimum(right, x2) - torch.maximum(left, x1)
    height = torch.minimum(bottom, y2) - torch.maximum(top, y1)
    intersection = torch.relu(width) * torch.relu(height)
    union = (right - left) * (bottom - top) + (x2 - x1) * (y2 - y1) - intersection
    return intersection > iou_threshold * union
