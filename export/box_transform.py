"""The box transform of R-CNN: how far, and by what factor, a box is from the region that it was found in."""

import math
from typing import Any

import torch

Weights = tuple[float, float, float, float]

# Fast R-CNN divides the targets by their deviation; its published code fixes that at 0.1 and 0.2, whose inverses these are.
WEIGHTS: Weights = (10.0, 10.0, 5.0, 5.0)
# A side may grow by no more than this factor, as in Detectron: exp would overflow where a network errs.
_LARGEST_FACTOR = 1000 / 16


def encode_boxes(boxes: Any, regions: Any, weights: Weights = WEIGHTS) -> Any:
    """t_x, t_y, t_w, t_h (..., 4) that take regions (..., 4) to boxes (..., 4), both x1 y1 x2 y2; the weights on top.

    t_x = (G_x - P_x) / P_w and t_w = log(G_w / P_w), of centres and sides (Girshick et al. 2014, appendix C).
    """
    region_centre, region_side = _centre_and_side(regions)
    centre, side = _centre_and_side(boxes)
    moves, factors = (centre - region_centre) / region_side, torch.log(side / region_side)
    return torch.cat([moves, factors], -1) * torch.tensor(weights, dtype=regions.dtype, device=regions.device)


def decode_boxes(transforms: Any, regions: Any, weights: Weights = WEIGHTS) -> Any:
    """The boxes (..., 4) x1 y1 x2 y2 that transforms (..., 4) make of regions (..., 4): the inverse of `encode_boxes`."""
    region_centre, region_side = _centre_and_side(regions)
    x, y, w, h = weights
    moves = transforms[..., :2] / torch.tensor([x, y], dtype=regions.dtype, device=regions.device)
    factors = transforms[..., 2:] / torch.tensor([w, h], dtype=regions.dtype, device=regions.device)
    centre = region_centre + moves * region_side
    half = region_side * torch.exp(factors.clamp(max=math.log(_LARGEST_FACTOR))) / 2
    return torch.cat([centre - half, centre + half], -1)


def _centre_and_side(boxes: Any) -> tuple[Any, Any]:
    return (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
