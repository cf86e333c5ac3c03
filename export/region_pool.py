"""Regions of feature maps pooled to one size, with fixed shapes: RoIAlign over the levels of a pyramid."""

import copy
from typing import Any

import torch
from torch.nn import functional
from torchvision.ops import MultiScaleRoIAlign, roi_align

from edgewright.runtime.errors import ExportError


class RegionPool(torch.nn.Module):
    """A MultiScaleRoIAlign for a fixed number of boxes: all boxes are pooled on every level, and masks pick their own."""

    def __init__(self, pool: Any, maps: dict[str, Any], size_hw: tuple[int, int], *, roi: str) -> None:
        super().__init__()
        if not isinstance(pool, MultiScaleRoIAlign):
            raise ExportError(
                f"the network pools its regions with {type(pool).__name__}; torchvision.ops.MultiScaleRoIAlign is wanted"
            )
        if roi == "grid" and pool.sampling_ratio < 1:
            raise ExportError(
                "roi 'grid' needs a fixed sampling_ratio, the network's adapts to the region; build it with sampling_ratio=2, "
                "or use roi 'op'"
            )
        self.names = [name for name in maps if name in pool.featmap_names]
        self.size_hw, self.samples = tuple(pool.output_size), pool.sampling_ratio
        self.align = _align_by_grid if roi == "grid" else _align_by_operator
        self.scales, self.mapper = _scales_and_mapper(pool, maps, size_hw)

    def forward(self, maps: dict[str, Any], boxes: Any) -> Any:
        """The features (K, C, h, w) of boxes (K, 4) in pixels of the input."""
        levels = [maps[name] for name in self.names]
        if len(levels) == 1:
            return self.align(levels[0], boxes * self.scales[0], self.size_hw, self.samples)
        chosen = self._level(boxes)
        pooled = None
        for index, (features, scale) in enumerate(zip(levels, self.scales, strict=True)):
            mine = (chosen == index).to(boxes.dtype)[:, None, None, None]
            part = self.align(features, boxes * scale, self.size_hw, self.samples) * mine
            pooled = part if pooled is None else pooled + part
        return pooled

    def _level(self, boxes: Any) -> Any:
        """The level (K,) of every box by the rule of the network's own LevelMapper."""
        mapper = self.mapper
        side = torch.sqrt(torch.relu((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])))
        level = torch.floor(mapper.lvl0 + torch.log2(side / mapper.s0) + mapper.eps)
        return level.clamp(mapper.k_min, mapper.k_max) - mapper.k_min


def _scales_and_mapper(pool: Any, maps: dict[str, Any], size_hw: tuple[int, int]) -> tuple[list[float], Any]:
    """What torchvision finds out at a first call with feature maps of this size."""
    fresh = copy.deepcopy(pool)
    fresh.scales = fresh.map_levels = None
    with torch.no_grad():
        fresh(maps, [torch.tensor([[0.0, 0.0, 1.0, 1.0]])], [size_hw])
    return list(fresh.scales), fresh.map_levels


def _align_by_operator(features: Any, boxes: Any, size_hw: tuple[int, int], samples: int) -> Any:
    regions = torch.cat([torch.zeros_like(boxes[:, :1]), boxes], 1)
    return roi_align(features, regions, size_hw, 1.0, samples)


def _align_by_grid(features: Any, boxes: Any, size_hw: tuple[int, int], samples: int) -> Any:
    """The same as GridSample and average pooling, for boxes (K, 4) that begin inside the map: no plugin in any engine."""
    y, inside_y = _sample_points(boxes[:, 1:2], boxes[:, 3:4], size_hw[0], samples, features.shape[-2])
    x, inside_x = _sample_points(boxes[:, 0:1], boxes[:, 2:3], size_hw[1], samples, features.shape[-1])
    count, rows, columns = boxes.shape[0], size_hw[0] * samples, size_hw[1] * samples
    grid = torch.stack(
        [x[:, None, :].expand(count, rows, columns), y[:, :, None].expand(count, rows, columns)], -1
    ).reshape(1, count * rows, columns, 2)
    inside = (inside_y[:, :, None] * inside_x[:, None, :]).reshape(1, 1, count * rows, columns)
    sampled = functional.grid_sample(features, grid, mode="bilinear", padding_mode="border", align_corners=True)
    pooled = functional.avg_pool2d(sampled * inside, samples)
    return pooled.reshape(features.shape[1], count, *size_hw).transpose(0, 1)


def _sample_points(low: Any, high: Any, bins: int, samples: int, cells: int) -> tuple[Any, Any]:
    """Where RoIAlign samples between low and high (K, 1): as GridSample counts, (K, bins * samples), and 1 where it is inside.

    A region is at least 1 cell wide, so it can reach over the map's end, where RoIAlign (aligned=False) reads 0.
    """
    step = (torch.arange(bins * samples, dtype=low.dtype) + 0.5) / samples
    points = low + torch.clamp(high - low, min=1.0) / bins * step
    return points * (2.0 / max(cells - 1, 1)) - 1.0, (points <= cells).to(low.dtype)
