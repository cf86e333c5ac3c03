"""Regions of pictures and feature maps pooled to one size, with fixed shapes: what torchvision's pools and RegionWarp give."""

import copy
import logging
from typing import Any

import torch
from torch.nn import functional
from torchvision.ops import MultiScaleRoIAlign, RoIAlign, RoIPool, roi_align, roi_pool

from edgewright.export.region_networks import RegionWarp
from edgewright.runtime.errors import ExportError

_log = logging.getLogger(__name__)


def static_pool(pool: Any, maps: Any, size_hw: tuple[int, int], *, roi: str) -> Any:
    """A module (maps, boxes (K, 4) in pixels of the input) → features (K, C, h, w), equal to `pool`.

    `maps` are what the pool will be given for an input of `size_hw`; ExportError for a pool that nobody knows.
    """
    if isinstance(pool, MultiScaleRoIAlign):
        return PyramidPool(pool, maps, size_hw, roi=roi)
    if isinstance(pool, RegionWarp):
        return _Warp(pool, roi=roi)
    if isinstance(pool, RoIAlign):
        return _MapPool(_pair(pool.output_size), pool.spatial_scale, pool.sampling_ratio, aligned=pool.aligned, roi=roi)
    if isinstance(pool, RoIPool):
        return _MaxPool(pool, roi=roi)
    raise ExportError(
        f"the network pools its regions with {type(pool).__name__}; MultiScaleRoIAlign, RoIAlign or RoIPool of torchvision.ops, "
        "or a RegionWarp is wanted"
    )


class PyramidPool(torch.nn.Module):
    """A MultiScaleRoIAlign for a fixed number of boxes: all boxes are pooled on every level, and masks pick their own."""

    def __init__(self, pool: Any, maps: dict[str, Any], size_hw: tuple[int, int], *, roi: str) -> None:
        super().__init__()
        self.names = [name for name in maps if name in pool.featmap_names]
        scales, self.mapper = _scales_and_mapper(pool, maps, size_hw)
        shape, samples = tuple(pool.output_size), pool.sampling_ratio
        self.pools = torch.nn.ModuleList(_MapPool(shape, scale, samples, aligned=False, roi=roi) for scale in scales)

    def forward(self, maps: dict[str, Any], boxes: Any) -> Any:
        """The features (K, C, h, w) of boxes (K, 4) in pixels of the input."""
        levels = [maps[name] for name in self.names]
        if len(levels) == 1:
            return self.pools[0](levels[0], boxes)
        chosen = self._level(boxes)
        pooled = None
        for index, (features, pool) in enumerate(zip(levels, self.pools, strict=True)):
            part = pool(features, boxes) * (chosen == index).to(boxes.dtype)[:, None, None, None]
            pooled = part if pooled is None else pooled + part
        return pooled

    def _level(self, boxes: Any) -> Any:
        """The level (K,) of every box by the rule of the network's own LevelMapper."""
        mapper = self.mapper
        side = torch.sqrt(torch.relu((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])))
        level = torch.floor(mapper.lvl0 + torch.log2(side / mapper.s0) + mapper.eps)
        return level.clamp(mapper.k_min, mapper.k_max) - mapper.k_min


class _MapPool(torch.nn.Module):
    """RoIAlign of one map whose cells are `1 / scale` pixels wide: as the operator, or as GridSample and average pooling."""

    def __init__(self, size_hw: tuple[int, int], scale: float, samples: int, *, aligned: bool, roi: str) -> None:
        super().__init__()
        if roi == "grid" and samples < 1:
            raise ExportError(
                "roi 'grid' needs a fixed sampling_ratio, the network's adapts to the region; build it with sampling_ratio=2, "
                "or use roi 'op'"
            )
        self.size_hw, self.scale, self.samples, self.aligned, self.grid = (
            size_hw,
            scale,
            samples,
            aligned,
            roi == "grid",
        )

    def forward(self, features: Any, boxes: Any) -> Any:
        if self.grid:
            return _align_by_grid(features, boxes * self.scale, self.size_hw, self.samples, aligned=self.aligned)
        # The scale is multiplied here in either form, since an engine's operator may round otherwise.
        return roi_align(features, _rows(boxes * self.scale), self.size_hw, 1.0, self.samples, self.aligned)


class _Warp(torch.nn.Module):
    """RegionWarp for a fixed number of boxes."""

    def __init__(self, warp: RegionWarp, *, roi: str) -> None:
        super().__init__()
        self.warp = warp
        self.crop = _MapPool(warp.size_hw, 1.0, warp.samples, aligned=True, roi=roi)

    def forward(self, images: Any, boxes: Any) -> Any:
        return self.crop(images, self.warp.with_surroundings(boxes))


class _MaxPool(torch.nn.Module):
    """RoIPool, which has no other form than the operator."""

    def __init__(self, pool: Any, *, roi: str) -> None:
        super().__init__()
        if roi == "grid":
            raise ExportError(
                "RoIPool has no form of GridSample, since it takes the maximum over whole cells; build the network with "
                "RoIAlign, or use roi 'op'"
            )
        _log.warning(
            "RoIPool becomes the operator MaxRoiPool, which ONNX Runtime and OpenVINO have and TensorRT's parser rejects; "
            "for TensorRT, build the network with RoIAlign"
        )
        self.size_hw, self.scale = _pair(pool.output_size), pool.spatial_scale

    def forward(self, features: Any, boxes: Any) -> Any:
        return roi_pool(features, _rows(boxes), self.size_hw, self.scale)


def _rows(boxes: Any) -> Any:
    """The operators' form of boxes (K, 4) of image 0."""
    return torch.cat([torch.zeros_like(boxes[:, :1]), boxes], 1)


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _align_by_grid(features: Any, boxes: Any, size_hw: tuple[int, int], samples: int, *, aligned: bool) -> Any:
    """RoIAlign without a plugin in any engine, of boxes (K, 4) in cells."""
    height, width = features.shape[-2:]
    y, inside_y = _sample_points(boxes[:, 1:2], boxes[:, 3:4], size_hw[0], samples, height, aligned=aligned)
    x, inside_x = _sample_points(boxes[:, 0:1], boxes[:, 2:3], size_hw[1], samples, width, aligned=aligned)
    count, rows, columns = boxes.shape[0], size_hw[0] * samples, size_hw[1] * samples
    grid = torch.stack(
        [x[:, None, :].expand(count, rows, columns), y[:, :, None].expand(count, rows, columns)], -1
    ).reshape(1, count * rows, columns, 2)
    inside = (inside_y[:, :, None] * inside_x[:, None, :]).reshape(1, 1, count * rows, columns)
    sampled = functional.grid_sample(features, grid, mode="bilinear", padding_mode="border", align_corners=True)
    pooled = functional.avg_pool2d(sampled * inside, samples)
    return pooled.reshape(features.shape[1], count, *size_hw).transpose(0, 1)


def _sample_points(low: Any, high: Any, bins: int, samples: int, cells: int, *, aligned: bool) -> tuple[Any, Any]:
    """Where RoIAlign samples between low and high (K, 1): as GridSample counts, (K, bins * samples), and 1 where it is inside.

    More than a cell before the map's first or behind its last sample it reads 0. Without `aligned` a region is at least 1 cell
    wide, so it can reach over the end; with it, cell i is centred at i + 0.5.
    """
    side = high - low if aligned else torch.clamp(high - low, min=1.0)
    step = (torch.arange(bins * samples, dtype=low.dtype) + 0.5) / samples
    points = low - (0.5 if aligned else 0.0) + side / bins * step
    inside = (points >= -1.0) & (points <= cells)
    return points * (2.0 / max(cells - 1, 1)) - 1.0, inside.to(low.dtype)


def _scales_and_mapper(pool: Any, maps: dict[str, Any], size_hw: tuple[int, int]) -> tuple[list[float], Any]:
    """What torchvision finds out at a first call with feature maps of this size."""
    fresh = copy.deepcopy(pool)
    fresh.scales = fresh.map_levels = None
    with torch.no_grad():
        fresh(maps, [torch.tensor([[0.0, 0.0, 1.0, 1.0]])], [size_hw])
    return list(fresh.scales), fresh.map_levels
