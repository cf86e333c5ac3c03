"""Images of any size at full resolution: the network runs on overlapping tiles of a mirrored image.

The overlap-tile strategy of Ronneberger, Fischer, Brox, "U-Net", arXiv:1505.04597, figure 2. A tile's outer `edge` pixels give
context alone; what lies inside, its core, is kept. Cores lie side by side, the first one in the image's corner: a map of tiles
whose edge is a multiple of a network's coarsest stride, and wider than what the network sees, is that of the whole image.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgewright.runtime.backends import Backend, Setting, Tensors
from edgewright.runtime.errors import BundleError
from edgewright.runtime.geometry import Placement
from edgewright.runtime.preprocess import Preprocessor, Tensor
from edgewright.runtime.results import Image
from edgewright.runtime.spec import ModelSpec, PreprocessSpec, TilingSpec

SizeHW = tuple[int, int]


@dataclass(frozen=True)
class TileGrid:
    """How images are cut: tiles of `tile_hw` pixels whose outer `edge` pixels are dropped, and maps whose cells have `stride`
    pixels. The network itself leaves out `margin` pixels on every side; `blend` mixes the maps of neighbours at their seam."""

    tile_hw: SizeHW
    edge: int
    margin: int
    stride: int
    blend: bool

    @property
    def core_hw(self) -> SizeHW:
        """What is kept of a tile, in pixels."""
        return self.tile_hw[0] - 2 * self.edge, self.tile_hw[1] - 2 * self.edge

    @property
    def core_cells(self) -> SizeHW:
        """What is kept of a tile's map, in cells."""
        return self.core_hw[0] // self.stride, self.core_hw[1] // self.stride

    @property
    def blended_cells(self) -> int:
        """How far blending reaches over the edge of a core, in cells: half of what is dropped, for the outer half of it, which
        saw least of the surroundings, should have no say."""
        return (self.edge - self.margin) // self.stride // 2 if self.blend else 0

    def counts(self, image_hw: SizeHW) -> SizeHW:
        """Rows and columns of tiles that cover an image."""
        return -(-image_hw[0] // self.core_hw[0]), -(-image_hw[1] // self.core_hw[1])

    def covered_hw(self, image_hw: SizeHW) -> SizeHW:
        """What the cores of these tiles cover, in pixels: the image, and what is mirrored to its right and below it."""
        rows, columns = self.counts(image_hw)
        return rows * self.core_hw[0], columns * self.core_hw[1]


def tile_grid(spec: ModelSpec, tiling: TilingSpec) -> TileGrid:
    """The grid of a network with these tiles; BundleError, which says what would fit, when nothing remains of a tile or an
    edge does not lie between cells of the network's map."""
    height, width = spec.preprocess.size_hw
    rows, columns = (_whole(dim) for dim in spec.outputs[0].shape[-2:])
    margin, edge = tiling.margin_px, max(tiling.overlap_px, tiling.margin_px)
    stride = (height - 2 * margin) // rows
    if (rows * stride, columns * stride) != (height - 2 * margin, width - 2 * margin):
        raise BundleError(
            f"the map of {rows}x{columns} cells does not divide the {height - 2 * margin}x{width - 2 * margin} pixels that it covers, so "
            "tiles cannot be put together; export with a --size that is a multiple of the network's stride"
        )
    widest = (min(height, width) - stride) // 2
    if edge > widest or (edge - margin) % stride:
        raise BundleError(
            f"an overlap of {edge} px on every side does not fit tiles of {height}x{width} whose map has a cell every {stride} px; "
            f"give --tile-overlap a multiple of {stride} up to {widest // stride * stride}"
        )
    grid = TileGrid((height, width), edge, margin, stride, tiling.blend)
    if tiling.blend and "class_ids" in spec.head.outputs:
        raise BundleError("class ids of neighbouring tiles cannot be mixed; leave blending out")
    if 2 * grid.blended_cells > min(grid.core_cells):
        raise BundleError(
            f"more than two tiles would be mixed in one place; give --tile-overlap at most {min(height, width) // 3} px, or leave "
            "blending out"
        )
    return grid


class TiledPreprocessor:
    """Turns an image into the tensor of all its tiles: the image with its mirrored surroundings, not resized."""

    def __init__(self, spec: PreprocessSpec, grid: TileGrid) -> None:
        self.spec = spec
        self.grid = grid
        self._whole = Preprocessor(spec)

    def __call__(self, image: Image) -> tuple[Tensor, Placement]:
        """The tensor of a BGR uint8 image (H, W, 3), overwritten by the next call, and where the image lies in the cores."""
        source_hw = (image.shape[0], image.shape[1])
        extended = mirrored(image, self.grid)
        if self._whole.spec.size_hw != extended.shape[:2]:
            self._whole = Preprocessor(
                self.spec.model_copy(update={"size_hw": extended.shape[:2], "resize": "stretch"})
            )
        tensor, _ = self._whole(extended)
        return tensor, Placement(source_hw, source_hw, (0, 0))


def whole_spec(spec: ModelSpec, grid: TileGrid, placement: Placement) -> ModelSpec:
    """What a head needs to know to decode the map of all cores as that of one large input."""
    covered = grid.covered_hw(placement.source_hw)
    return spec.model_copy(update={"preprocess": spec.preprocess.model_copy(update={"size_hw": covered})})


def mirrored(image: Image, grid: TileGrid) -> Image:
    """The image with as much of its mirror image around it as its tiles need, several times where it is small.

    The outermost row of pixels is the mirror's axis and is not repeated.
    """
    height, width = image.shape[:2]
    covered = grid.covered_hw((height, width))
    bottom, right = covered[0] - height + grid.edge, covered[1] - width + grid.edge
    extended = cv2.copyMakeBorder(image, grid.edge, bottom, grid.edge, right, cv2.BORDER_REFLECT_101)
    return np.asarray(extended, np.uint8)


class TiledBackend:
    """A backend that takes the tensor of all tiles and gives the map of all cores; the engine sees one tile at a time."""

    # Read by `runtime.lanes`: nothing writes on outputs that were given out.
    fresh_outputs = True

    def __init__(self, engine: Backend, grid: TileGrid, layout: str) -> None:
        self.engine = engine
        self.grid = grid
        self.inputs, self.outputs = engine.inputs, engine.outputs
        self.settings: Mapping[str, Setting] = {
            **engine.settings,
            "tile_overlap_px": grid.edge,
            "tile_blend": grid.blend,
        }
        self._leading = (slice(None),) * (2 if layout == "nchw" else 1)

    def infer(self, feeds: Tensors) -> dict[str, npt.NDArray[Any]]:
        """The outputs by name, with one cell for every `stride` pixels of all cores."""
        ((name, tensor),) = feeds.items()
        axis, edges = len(self._leading), 2 * self.grid.edge
        counts = self.grid.counts((tensor.shape[axis] - edges, tensor.shape[axis + 1] - edges))
        maps: dict[str, npt.NDArray[Any]] = {}
        for place in np.ndindex(*counts):
            values = self.engine.infer({name: np.ascontiguousarray(tensor[(*self._leading, *self._pixels(place))])})
            for output, tile in values.items():
                if output not in maps:
                    maps[output] = self._empty_map(tile, counts)
                self._add(maps[output], tile, place, counts)
        around = self.grid.blended_cells
        return {
            output: whole[..., around : -around or None, around : -around or None] for output, whole in maps.items()
        }

    def close(self) -> None:
        self.engine.close()

    def __enter__(self) -> "TiledBackend":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _pixels(self, place: tuple[int, ...]) -> tuple[slice, ...]:
        sides = zip(place, self.grid.core_hw, self.grid.tile_hw, strict=True)
        return tuple(slice(index * core, index * core + tile) for index, core, tile in sides)

    def _empty_map(self, values: npt.NDArray[Any], counts: SizeHW) -> npt.NDArray[Any]:
        """Room for the cores, and around them for what blending adds there."""
        sides = (
            count * core + 2 * self.grid.blended_cells for count, core in zip(counts, self.grid.core_cells, strict=True)
        )
        return np.zeros((*values.shape[:-2], *sides), values.dtype)

    def _add(self, whole: npt.NDArray[Any], values: npt.NDArray[Any], place: tuple[int, ...], counts: SizeHW) -> None:
        """Write a tile's core into its place; when blending, add all of its map, weighted."""
        grid, around = self.grid, self.grid.blended_cells
        cut = (grid.edge - grid.margin) // grid.stride - around
        part = values[..., cut : values.shape[-2] - cut, cut : values.shape[-1] - cut]
        if around:
            rows, columns = (
                _weights(index, count, core, around)
                for index, count, core in zip(place, counts, grid.core_cells, strict=True)
            )
            part = part * (rows[:, None] * columns).astype(values.dtype)
        y, x = (index * core for index, core in zip(place, grid.core_cells, strict=True))
        whole[..., y : y + part.shape[-2], x : x + part.shape[-1]] += part


def _weights(index: int, count: int, core: int, around: int) -> npt.NDArray[np.float64]:
    """The weight of each cell of a tile along one axis: 1 in the middle, a straight line across each seam with a neighbour."""
    weights = np.ones(core + 2 * around)
    ramp = (np.arange(2 * around) + 0.5) / (2 * around)
    if index > 0:
        weights[: 2 * around] = ramp
    if index < count - 1:
        weights[-2 * around :] = ramp[::-1]
    return weights


def _whole(dim: int | str) -> int:
    if not isinstance(dim, int) or dim < 1:
        raise BundleError(f"tiles need a map of fixed size, this network's has the dimension '{dim}'; export it again")
    return dim
