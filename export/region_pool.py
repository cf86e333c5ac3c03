"""Regions of pictures and feature maps pooled to one size, with fixed shapes: what torchvision's pools and RegionWarp give."""

import logging
from typing import Any

import torch
from torchvision.ops import MultiScaleRoIAlign, RoIAlign, RoIPool, roi_pool

from edgewright.export.map_pool import MapPool, rows
from edgewright.export.pyramid_pool import pyramid_pool
from edgewright.export.region_networks import RegionWarp
from edgewright.runtime.errors import ExportError

_log = logging.getLogger(__name__)


def static_pool(pool: Any, maps: Any, size_hw: tuple[int, int], *, roi: str) -> Any:
    """A module (maps, boxes (K, 4) in pixels of the input) → features (K, C, h, w), equal to `pool`.

    `maps` are what the pool will be given for an input of `size_hw`; ExportError for a pool that nobody knows.
    """
    if isinstance(pool, MultiScaleRoIAlign):
        return pyramid_pool(pool, maps, size_hw, roi=roi)
    if isinstance(pool, RegionWarp):
        return _Warp(pool, roi=roi)
    if isinstance(pool, RoIAlign):
        return MapPool(_pair(pool.output_size), pool.spatial_scale, pool.sampling_ratio, aligned=pool.aligned, roi=roi)
    if isinstance(pool, RoIPool):
        return _MaxPool(pool, roi=roi)
    raise ExportError(
        f"the network pools its regions with {type(pool).__name__}; MultiScaleRoIAlign, RoIAlign or RoIPool of torchvision.ops, "
        "or a RegionWarp is wanted"
    )


class _Warp(torch.nn.Module):
    """RegionWarp for a fixed number of boxes."""

    def __init__(self, warp: RegionWarp, *, roi: str) -> None:
        super().__init__()
        self.warp = warp
        self.crop = MapPool(warp.size_hw, 1.0, warp.samples, aligned=True, roi=roi)

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
        return roi_pool(features, rows(boxes), self.size_hw, self.scale)


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
