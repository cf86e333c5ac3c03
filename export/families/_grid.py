"""What the grid-based families share: the input size and the cells of the feature maps."""

import numpy as np
import numpy.typing as npt

from edgewright.export.graph_editor import GraphEditor
from edgewright.export.request import ExportRequest
from edgewright.runtime.errors import ExportError


def static_input_hw(graph: GraphEditor, request: ExportRequest, *, default: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) of the NCHW image input, after making it static at batch 1.

    A dimension that the graph leaves open takes the requested size, else the family's default.
    """
    tensor = graph.only_input()
    if tensor.shape[1] not in (3, "channels", -1):
        raise ExportError(
            f"{graph.source}: input '{tensor.name}' is {list(tensor.shape)}, [1, 3, height, width] is wanted; check --family"
        )
    wished = request.size or tuple(
        dim if isinstance(dim, int) and dim > 0 else fallback
        for dim, fallback in zip(tensor.shape[2:], default, strict=True)
    )
    height, width = int(wished[0]), int(wished[1])
    graph.freeze_input((1, 3, height, width))
    return height, width


def cell_grid(size_hw: tuple[int, int], strides: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Every cell as (x index, y index, stride), (A, 3): level by level, row by row; a level has ceil(size / stride) cells."""
    levels = []
    for stride in strides:
        rows, columns = -(-size_hw[0] // stride), -(-size_hw[1] // stride)
        y, x = np.mgrid[:rows, :columns]
        levels.append(np.stack([x, y, np.full_like(x, stride)], axis=-1).reshape(-1, 3))
    return np.concatenate(levels).astype(np.float32)
