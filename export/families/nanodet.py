"""NanoDet-Plus: one output [1, A, C + 4 * bins]: class probabilities, then one distribution per box side.

Distance of a side = expected bin * stride from the cell's corner point (x * stride, y * stride); Li et al., "Generalized
Focal Loss", arXiv:2006.04388, section 3.2. The trainer feeds BGR normalised with the ImageNet mean and deviation, stretched.
"""

import numpy as np

from edgewright.export.families import Imported
from edgewright.export.families._grid import cell_grid, static_input_hw
from edgewright.export.graph_editor import GraphEditor
from edgewright.export.request import ExportRequest
from edgewright.runtime.errors import ExportError
from edgewright.runtime.spec import HeadSpec, PostprocessSpec, PreprocessSpec

EXPECTS = "[1, A, classes + 32], A = cells of strides 8, 16, 32 and 64 (or 8 to 32)"
_STRIDES = ((8, 16, 32, 64), (8, 16, 32))
_BINS = 8  # reg_max 7 in every published NanoDet-Plus configuration
# ImageNet statistics in BGR order and 0..255 units, as in NanoDet's configuration files.
_MEAN, _STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)


def import_onnx(graph: GraphEditor, request: ExportRequest) -> Imported:
    """Append the decoding: boxes as corners in input pixels."""
    size_hw = static_input_hw(graph, request, default=(416, 416))
    output = graph.only_output("nanodet", EXPECTS)
    shape = output.shape
    grids = {len(cell_grid(size_hw, strides)): strides for strides in _STRIDES}
    if len(shape) != 3 or shape[1] not in grids or not isinstance(shape[2], int) or shape[2] <= 4 * _BINS:
        raise ExportError(
            f"{graph.source}: output '{output.name}' is {list(shape)}, family nanodet at {size_hw[0]}x{size_hw[1]} wants {EXPECTS} "
            f"= {sorted(grids)}; check --family and --size"
        )
    anchors, classes = int(shape[1]), shape[2] - 4 * _BINS
    raw = graph.as_float(output)
    sides = graph.cut(raw, classes, classes + 4 * _BINS, 2)
    bins = graph.add("Reshape", sides, graph.constant([1, anchors, 4, _BINS], np.int64))
    expected = graph.add(
        "MatMul", graph.add("Softmax", bins, axis=3), graph.constant(np.arange(_BINS)[:, None], np.float32)
    )
    cells = cell_grid(size_hw, grids[anchors])
    stride = graph.constant(cells[None, :, 2:], np.float32)
    distance = graph.add("Mul", graph.add("Reshape", expected, graph.constant([1, anchors, 4], np.int64)), stride)
    point = graph.constant(cells[None, :, :2] * cells[None, :, 2:], np.float32)
    low = graph.add("Sub", point, graph.cut(distance, 0, 2, 2))
    high = graph.add("Add", point, graph.cut(distance, 2, 4, 2))
    scores = graph.cut(raw, 0, classes, 2)
    graph.set_outputs(
        {"boxes": (graph.add("Concat", low, high, axis=2), (1, anchors, 4)), "scores": (scores, (1, anchors, classes))}
    )
    return Imported(
        task="detect",
        head=HeadSpec(kind="dense", outputs={"boxes": "boxes", "scores": "scores"}, boxes="xyxy_pixels"),
        preprocess=PreprocessSpec(size_hw=size_hw, resize="stretch", color="bgr", mean=_MEAN, std=_STD),
        postprocess=PostprocessSpec(iou_threshold=0.6),
        classes=classes,
    )
