"""Greedy non-maximum suppression as a fixed number of matrix products: exact, of fixed shape, without an NMS operator."""

from typing import Any

import torch

# Round r settles every box at the end of a chain of r suppressions (see runtime/nms/hard.py). Random crowds of 1,000 boxes have
# chains of up to a dozen; a round more costs one product with a matrix that is there anyway.
ROUNDS = 24


def keep_mask(boxes: Any, valid: Any, iou_threshold: float, *, same: Any = None, rounds: int = ROUNDS) -> Any:
    """1 for boxes that remain and 0 for others, (..., N) float.

    Boxes (..., N, 4) x1 y1 x2 y2 come best first, `valid` (..., N) is 0 for those that are none; `same` (..., N, N) is 1 for
    pairs that may suppress each other, None for all.
    """
    suppresses = torch.triu(_overlap(boxes, iou_threshold).to(boxes.dtype), diagonal=1)
    if same is not None:
        suppresses = suppresses * same
    keep = valid
    for _ in range(rounds):
        better = torch.matmul(keep.unsqueeze(-2), suppresses).squeeze(-2)
        keep = torch.relu(valid - better)  # a count of 0 leaves 1, any other leaves 0
    return keep


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


def _overlap(boxes: Any, iou_threshold: float) -> Any:
    """Whether IoU > threshold for every pair, as intersection > threshold * union: no division, so no NaN for empty boxes."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    area = (x2 - x1) * (y2 - y1)
    width = torch.minimum(_row(x2), _column(x2)) - torch.maximum(_row(x1), _column(x1))
    height = torch.minimum(_row(y2), _column(y2)) - torch.maximum(_row(y1), _column(y1))
    intersection = torch.relu(width) * torch.relu(height)
    return intersection > iou_threshold * (_row(area) + _column(area) - intersection)


def _row(values: Any) -> Any:
    return values.unsqueeze(-1)


def _column(values: Any) -> Any:
    return values.unsqueeze(-2)
