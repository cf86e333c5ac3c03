"""Regions pooled from a pyramid of feature maps, each from its own level, as torchvision's MultiScaleRoIAlign does it."""

import copy
from typing import Any

import torch
from torch.nn import functional

from edgewright.export.map_pool import MapPool, align_inside, sample_points


def pyramid_pool(pool: Any, maps: dict[str, Any], size_hw: tuple[int, int], *, roi: str) -> Any:
    """A module (maps by name, boxes (K, 4) in pixels of the input and inside of it) → features (K, C, h, w), equal to `pool`."""
    pyramid = _Pyramid(pool, maps, size_hw)
    if len(pyramid.names) > 1 and pool.sampling_ratio > 0 and pyramid.covers(size_hw):
        return _Mosaic(pyramid, tuple(pool.output_size), pool.sampling_ratio, roi=roi)
    return _LevelByLevel(pyramid, tuple(pool.output_size), pool.sampling_ratio, roi=roi)


class _Pyramid:
    """The levels of a MultiScaleRoIAlign for one input size: their names, sizes and scales, and the rule that chooses."""

    def __init__(self, pool: Any, maps: dict[str, Any], size_hw: tuple[int, int]) -> None:
        self.names = [name for name in maps if name in pool.featmap_names]
        self.sizes_hw = [tuple(maps[name].shape[-2:]) for name in self.names]
        # torchvision finds them out at a first call with feature maps of this size.
        fresh = copy.deepcopy(pool)
        fresh.scales = fresh.map_levels = None
        with torch.no_grad():
            fresh(maps, [torch.tensor([[0.0, 0.0, 1.0, 1.0]])], [size_hw])
        self.scales, self._mapper = list(fresh.scales), fresh.map_levels

    def covers(self, size_hw: tuple[int, int]) -> bool:
        """Whether every level has cells for the whole input, so that no box inside of it reaches over the end of a map."""
        pairs = zip(self.sizes_hw, self.scales, strict=True)
        return all(cells >= side * scale for size, scale in pairs for cells, side in zip(size, size_hw, strict=True))

    def level(self, boxes: Any) -> Any:
        """The number (K,) of every box's level by the rule of the network's own LevelMapper."""
        mapper = self._mapper
        side = torch.sqrt(torch.relu((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])))
        level = torch.floor(mapper.lvl0 + torch.log2(side / mapper.s0) + mapper.eps)
        return level.clamp(mapper.k_min, mapper.k_max) - mapper.k_min


class _Mosaic(torch.nn.Module):
    """All levels below each other in one map, of which every box is pooled once.

    The last row and column of each level are there twice, so that a sample behind the last cell reads what RoIAlign reads there:
    the last cell's value.
    """

    def __init__(self, pyramid: _Pyramid, size_hw: tuple[int, int], samples: int, *, roi: str) -> None:
        super().__init__()
        self.pyramid, self.size_hw, self.samples, self.roi = pyramid, size_hw, samples, roi
        heights, widths = zip(*pyramid.sizes_hw, strict=True)
        # Fixed numbers: of sizes asked for while tracing, the legacy exporter makes pads at the wrong end.
        self.paddings = [(0, max(widths) + 1 - width, 0, 1) for width in widths]
        first = [sum(heights[:level]) + level for level in range(len(heights))]
        columns = torch.tensor([pyramid.scales, heights, widths, first], dtype=torch.float32)
        self.register_buffer("levels", columns.T.contiguous())

    def forward(self, maps: dict[str, Any], boxes: Any) -> Any:
        pairs = zip((maps[name] for name in self.pyramid.names), self.paddings, strict=True)
        mosaic = torch.cat([functional.pad(level, padding, mode="replicate") for level, padding in pairs], 2)
        scale, height, width, first = self.levels[self.pyramid.level(boxes).long()].split(1, 1)
        left, top, right, bottom = (boxes * scale).split(1, 1)
        left, right, inside_x = self._on_map(left, right, width, self.size_hw[1])
        top, bottom, inside_y = self._on_map(top, bottom, height, self.size_hw[0])
        cells = torch.cat([left, top + first, right, bottom + first], 1)
        pooled = align_inside(mosaic, cells, self.size_hw, self.samples, roi=self.roi)
        return pooled * (inside_y[:, None, :, None] * inside_x[:, None, None, :])

    def _on_map(self, low: Any, high: Any, cells: Any, bins: int) -> tuple[Any, Any, Any]:
        """Where a region (K, 1) begins and ends so that it is pooled on the map, and what share of every bin's samples (K, bins)
        RoIAlign finds there.

        It widens regions to a cell. Only such a one can reach over the end, where RoIAlign reads 0; it lies behind the last
        cell's centre, so that its samples on the map all read the last cell: as they do where the region is moved to.
        """
        side = torch.clamp(high - low, min=1.0)
        inside = (sample_points(low, side, bins, self.samples) <= cells).to(low.dtype)
        start = torch.minimum(low, cells - 1.0)
        return start, start + side, inside.reshape(-1, bins, self.samples).mean(2)


class _LevelByLevel(torch.nn.Module):
    """All boxes pooled on every level, and masks that pick their own: for a single level, for samples whose number follows from
    the region's side, which a mosaic's coordinates would round otherwise, and for maps that do not cover the input."""

    def __init__(self, pyramid: _Pyramid, size_hw: tuple[int, int], samples: int, *, roi: str) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.pools = torch.nn.ModuleList(
            MapPool(size_hw, scale, samples, aligned=False, roi=roi) for scale in pyramid.scales
        )

    def forward(self, maps: dict[str, Any], boxes: Any) -> Any:
        levels = [maps[name] for name in self.pyramid.names]
        if len(levels) == 1:
            return self.pools[0](levels[0], boxes)
        chosen = self.pyramid.level(boxes)
        pooled = None
        for index, (features, pool) in enumerate(zip(levels, self.pools, strict=True)):
            part = pool(features, boxes) * (chosen == index).to(boxes.dtype)[:, None, None, None]
            pooled = part if pooled is None else pooled + part
        return pooled
