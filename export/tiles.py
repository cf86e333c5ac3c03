"""Whether a segmenter runs on tiles, and which part of a tile its map shows."""

import logging

from edgewright.export.request import ExportRequest
from edgewright.runtime.errors import BundleError, UsageError
from edgewright.runtime.spec import ModelSpec, SizeHW, TilingSpec
from edgewright.runtime.tiling import tile_grid

_log = logging.getLogger(__name__)

# Strides of the maps that padded networks give; a map of none of these is the centre of the input.
_STRIDES = (1, 2, 4, 8, 16, 32)


def with_tiling(request: ExportRequest, spec: ModelSpec) -> ModelSpec:
    """The specification with tiles, where the user asks for them or the network's map shows the centre of its input alone.

    UsageError when the network gives no map of classes, or tiles of its size cannot overlap so.
    """
    if spec.task != "semantic":
        asked = sorted(request.given("tile_overlap", "tile_blend", "output_margin"))
        if asked:
            raise UsageError(
                f"{', '.join(asked)}: tiles are for networks that give a class for every pixel; leave it out"
            )
        return spec
    margin = _margin(request, spec)
    if request.tile_overlap is None and margin == 0:
        if request.tile_blend:
            raise UsageError("tile_blend mixes overlapping tiles; say by how much they overlap: --tile-overlap PX")
        return spec
    tiling = TilingSpec(
        overlap_px=max(request.tile_overlap or 0, margin), margin_px=margin, blend=request.tile_blend or False
    )
    try:
        tile_grid(spec, tiling)
    except BundleError as err:
        raise UsageError(str(err)) from err
    return spec.model_copy(update={"tiling": tiling})


def _margin(request: ExportRequest, spec: ModelSpec) -> int:
    shape = spec.outputs[0].shape[-2:]
    if request.output_margin is not None or not all(isinstance(side, int) for side in shape):
        return request.output_margin or 0
    margin = centre_margin(spec.preprocess.size_hw, (int(shape[0]), int(shape[1])))
    if margin:
        _log.info("the map shows the centre of the input, %d px are missing on every side: images run in tiles", margin)
    return margin


def centre_margin(input_hw: SizeHW, map_hw: SizeHW) -> int:
    """How many pixels a map leaves out on every side of the input, as convolutions without padding do; 0 for one that shows
    all of it at a coarser scale."""
    if any(_at_stride(input_hw, map_hw, stride) for stride in _STRIDES):
        return 0
    height, width = input_hw[0] - map_hw[0], input_hw[1] - map_hw[1]
    return height // 2 if height == width and height > 0 and height % 2 == 0 else 0


def _at_stride(input_hw: SizeHW, map_hw: SizeHW, stride: int) -> bool:
    return all(cells in (side // stride, -(-side // stride)) for side, cells in zip(input_hw, map_hw, strict=True))
