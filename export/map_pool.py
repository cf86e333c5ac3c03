"""RoIAlign of one feature map with fixed shapes: as the operator, or in a form that needs no plugin in any engine."""

from typing import Any

import torch
from torch.nn import functional
from torchvision.ops import roi_align

from edgewright.runtime.errors import ExportError


class MapPool(torch.nn.Module):
    """RoIAlign of one map whose cells are `1 / scale` pixels wide: as the operator, or as GridSample and average pooling."""

    def __init__(self, size_hw: tuple[int, int], scale: float, samples: int, *, aligned: bool, roi: str) -> None:
        super().__init__()
        if roi == "grid" and samples < 1:
            raise ExportError(
                "roi 'grid' needs a fixed sampling_ratio, the network's adapts to the region; build it with sampling_ratio=2, "
                "or use roi 'op'"
            )
        self.size_hw, self.scale, self.samples, self.aligned = size_hw, scale, samples, aligned
        self.grid = roi == "grid"

    def forward(self, features: Any, boxes: Any) -> Any:
        """The features (K, C, h, w) of boxes (K, 4) in pixels."""
        # The scale is multiplied here in either form, since an engine's operator may round otherwise.
        cells = boxes * self.scale
        if not self.grid:
            return roi_align(features, rows(cells), self.size_hw, 1.0, self.samples, self.aligned)
        height, width = features.shape[-2:]
        y, inside_y = self._points(cells[:, 1:2], cells[:, 3:4], self.size_hw[0], height)
        x, inside_x = self._points(cells[:, 0:1], cells[:, 2:3], self.size_hw[1], width)
        inside = inside_y[:, :, None] * inside_x[:, None, :]
        sampled = _sampled(features, y, x) * inside.reshape(1, 1, -1, inside.shape[2])
        return _averaged(sampled, self.samples, self.size_hw)

    def _points(self, low: Any, high: Any, bins: int, cells: int) -> tuple[Any, Any]:
        """Where RoIAlign samples between low and high (K, 1), (K, bins * samples), and 1 where it is inside.

        More than a cell before the map's first or behind its last sample it reads 0. Without `aligned` a region is at least 1
        cell wide, so it can reach over the end; with it, cell i is centred at i + 0.5.
        """
        side = high - low if self.aligned else torch.clamp(high - low, min=1.0)
        points = sample_points(low - (0.5 if self.aligned else 0.0), side, bins, self.samples)
        return points, ((points >= -1.0) & (points <= cells)).to(low.dtype)


def align_inside(features: Any, boxes: Any, size_hw: tuple[int, int], samples: int, *, roi: str) -> Any:
    """RoIAlign, not aligned, of boxes (K, 4) in cells all of whose samples lie on the map, each side of a cell at least."""
    if roi != "grid":
        return roi_align(features, rows(boxes), size_hw, 1.0, samples)
    left, top, right, bottom = boxes.split(1, 1)
    y, x = (
        sample_points(low, high - low, bins, samples)
        for low, high, bins in ((top, bottom, size_hw[0]), (left, right, size_hw[1]))
    )
    return _averaged(_sampled(features, y, x), samples, size_hw)


def sample_points(low: Any, side: Any, bins: int, samples: int) -> Any:
    """The coordinates (K, bins * samples) at which RoIAlign reads an axis of regions that begin at low and have a side (K, 1)."""
    return low + side / bins * ((torch.arange(bins * samples, dtype=low.dtype) + 0.5) / samples)


def rows(boxes: Any) -> Any:
    """The operators' form of boxes (K, 4) of image 0."""
    return torch.cat([torch.zeros_like(boxes[:, :1]), boxes], 1)


def _sampled(features: Any, y: Any, x: Any) -> Any:
    """The map (1, C, H, W) read at every pair of coordinates y (K, R) and x (K, S) of a region: (1, C, K * R, S)."""
    (count, down), across = y.shape, x.shape[1]
    height, width = features.shape[-2:]
    y, x = (values * (2.0 / max(cells - 1, 1)) - 1.0 for values, cells in ((y, height), (x, width)))
    pairs = [x[:, None, :].expand(count, down, across), y[:, :, None].expand(count, down, across)]
    grid = torch.stack(pairs, -1).reshape(1, count * down, across, 2)
    return functional.grid_sample(features, grid, mode="bilinear", padding_mode="border", align_corners=True)


def _averaged(sampled: Any, samples: int, size_hw: tuple[int, int]) -> Any:
    """The mean of the samples of each bin, as features (K, C, h, w)."""
    pooled = functional.avg_pool2d(sampled, samples)
    return pooled.reshape(pooled.shape[1], -1, *size_hw).transpose(0, 1)
