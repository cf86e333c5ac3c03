"""Ultralytics-style ONNX files: [1, 4 + C, A] (v8, v9, 11, 12), [1, A, 5 + C] with objectness (v5, v6, v7), or finished
detections [1, K, 6] (v10, and files exported with NMS inside).

Boxes are centre and size in input pixels (corners in finished detections), scores are probabilities; the trainer feeds RGB
0..1, letterboxed on grey 114.
"""

import numpy as np

from edgewright.export.families import Imported
from edgewright.export.families._grid import cell_grid, static_input_hw
from edgewright.export.graph_editor import GraphEditor
from edgewright.export.request import ExportRequest
from edgewright.runtime.errors import ExportError
from edgewright.runtime.spec import HeadSpec, PostprocessSpec, PreprocessSpec, TensorSpec

EXPECTS = "[1, 4 + classes, A], [1, 3 * A, 5 + classes] (A = cells of strides 8, 16 and 32, or 8 to 64) or [1, K, 6]"
_BOXES_AND_SCORES = {"boxes": "boxes", "scores": "scores"}


def import_onnx(graph: GraphEditor, request: ExportRequest) -> Imported:
    """Split the output into boxes and scores: the dense head, or the final head for finished detections."""
    size_hw = static_input_hw(graph, request, default=(640, 640))
    output = graph.only_output("ultralytics", EXPECTS)
    shape = tuple(dim if isinstance(dim, int) else -1 for dim in output.shape)
    cells = [len(cell_grid(size_hw, strides)) for strides in ((8, 16, 32), (8, 16, 32, 64))]
    if len(shape) == 3 and shape[2] in cells and shape[1] > 4:
        head, classes = _without_objectness(graph, output, shape[2], shape[1] - 4)
    elif len(shape) == 3 and shape[1] in [3 * count for count in cells] and shape[2] > 5:
        head, classes = _with_objectness(graph, output, shape[1], shape[2] - 5)
    elif len(shape) == 3 and shape[1] > 0 and shape[2] == 6:
        head, classes = _finished(graph, output, shape[1]), None
    else:
        raise ExportError(
            f"{graph.source}: output '{output.name}' is {list(output.shape)}, family ultralytics at {size_hw[0]}x{size_hw[1]} "
            f"wants {EXPECTS}, A = {cells}; check --family and --size"
        )
    return Imported(
        task="detect",
        head=head,
        preprocess=PreprocessSpec(size_hw=size_hw, resize="letterbox", pad_value=114, color="rgb", scale=1 / 255),
        postprocess=PostprocessSpec(iou_threshold=0.7),
        classes=classes,
    )


def _without_objectness(graph: GraphEditor, output: TensorSpec, anchors: int, classes: int) -> tuple[HeadSpec, int]:
    rows = graph.add("Transpose", graph.as_float(output), perm=[0, 2, 1])
    scores = graph.cut(rows, 4, 4 + classes, 2)
    graph.set_outputs({"boxes": (graph.cut(rows, 0, 4, 2), (1, anchors, 4)), "scores": (scores, (1, anchors, classes))})
    return HeadSpec(kind="dense", outputs=_BOXES_AND_SCORES, boxes="cxcywh_pixels"), classes


def _with_objectness(graph: GraphEditor, output: TensorSpec, anchors: int, classes: int) -> tuple[HeadSpec, int]:
    rows = graph.as_float(output)
    scores = graph.add("Mul", graph.cut(rows, 5, 5 + classes, 2), graph.cut(rows, 4, 5, 2))
    graph.set_outputs({"boxes": (graph.cut(rows, 0, 4, 2), (1, anchors, 4)), "scores": (scores, (1, anchors, classes))})
    return HeadSpec(kind="dense", outputs=_BOXES_AND_SCORES, boxes="cxcywh_pixels"), classes


def _finished(graph: GraphEditor, output: TensorSpec, rows: int) -> HeadSpec:
    raw, one_row = graph.as_float(output), graph.constant([1, rows], np.int64)
    scores, classes = (graph.add("Reshape", graph.cut(raw, i, i + 1, 2), one_row) for i in (4, 5))
    graph.set_outputs(
        {
            "boxes": (graph.cut(raw, 0, 4, 2), (1, rows, 4)),
            "scores": (scores, (1, rows)),
            "classes": (classes, (1, rows)),
        }
    )
    return HeadSpec(kind="final", outputs={**_BOXES_AND_SCORES, "classes": "classes"}, boxes="xyxy_pixels")
