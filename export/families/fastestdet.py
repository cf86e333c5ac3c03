"""FastestDet: one output [1, 5 + C, H/16, W/16]: objectness, box, class probabilities.

score = objectness^0.6 * class^0.4; centre = (cell + tanh(t)) / grid, size = sigmoid(t), as fractions of the image.
The trainer feeds BGR 0..1, stretched.
"""

import numpy as np

from edgewright.export.families import Imported
from edgewright.export.families._grid import cell_grid, static_input_hw
from edgewright.export.graph_editor import GraphEditor
from edgewright.export.request import ExportRequest
from edgewright.runtime.errors import ExportError
from edgewright.runtime.spec import HeadSpec, PostprocessSpec, PreprocessSpec

EXPECTS = "[1, 5 + classes, height/16, width/16]"
_STRIDE = 16


def import_onnx(graph: GraphEditor, request: ExportRequest) -> Imported:
    """Append the decoding: boxes as centre and size in fractions of the image, one row per cell."""
    size_hw = static_input_hw(graph, request, default=(352, 352))
    output = graph.only_output("fastestdet", EXPECTS)
    rows, columns = -(-size_hw[0] // _STRIDE), -(-size_hw[1] // _STRIDE)
    shape = output.shape
    if len(shape) != 4 or shape[2:] != (rows, columns) or not isinstance(shape[1], int) or shape[1] < 6:
        raise ExportError(
            f"{graph.source}: output '{output.name}' is {list(shape)}, family fastestdet at {size_hw[0]}x{size_hw[1]} wants "
            f"{EXPECTS} = [1, 5 + classes, {rows}, {columns}]; check --family and --size"
        )
    cells, classes = rows * columns, shape[1] - 5
    flat = graph.add("Reshape", graph.as_float(output), graph.constant([1, shape[1], cells], np.int64))
    raw = graph.add("Transpose", flat, perm=[0, 2, 1])
    grid = graph.constant(cell_grid(size_hw, (_STRIDE,))[None, :, :2], np.float32)
    per_cell = graph.constant([1 / columns, 1 / rows], np.float32)
    xy = graph.add("Mul", graph.add("Add", graph.add("Tanh", graph.cut(raw, 1, 3, 2)), grid), per_cell)
    wh = graph.add("Sigmoid", graph.cut(raw, 3, 5, 2))
    objectness = graph.add("Pow", graph.cut(raw, 0, 1, 2), graph.constant(0.6, np.float32))
    classified = graph.add("Pow", graph.cut(raw, 5, 5 + classes, 2), graph.constant(0.4, np.float32))
    scores = graph.add("Mul", classified, objectness)
    graph.set_outputs(
        {"boxes": (graph.add("Concat", xy, wh, axis=2), (1, cells, 4)), "scores": (scores, (1, cells, classes))}
    )
    return Imported(
        task="detect",
        head=HeadSpec(kind="dense", outputs={"boxes": "boxes", "scores": "scores"}, boxes="cxcywh_unit"),
        preprocess=PreprocessSpec(size_hw=size_hw, resize="stretch", color="bgr", scale=1 / 255),
        postprocess=PostprocessSpec(iou_threshold=0.45),
        classes=classes,
    )
