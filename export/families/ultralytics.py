"""Ultralytics-style ONNX files: [1, 4 + C, A] (v8, v9, 11, 12), [1, A, 5 + C] with objectness (v5, v6, v7), or finished
detections [1, K, 6] (v10, and files exported with NMS inside).

A segmentation network (-seg) has P mask coefficients behind the classes, and prototypes [1, P, h, w] as a second output.
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

EXPECTS = (
    "[1, 4 + classes, A], [1, 3 * A, 5 + classes] (A = cells of strides 8, 16 and 32, or 8 to 64) or [1, K, 6]; "
    "for -seg, P mask coefficients more and prototypes [1, P, height, width]"
)
_BOXES_AND_SCORES = {"boxes": "boxes", "scores": "scores"}
_MASKS = {"coefficients": "coefficients", "prototypes": "prototypes"}


def import_onnx(graph: GraphEditor, request: ExportRequest) -> Imported:
    """Split the output into the parts of the dense head, of the prototypes head, or of the final head when detections are
    finished."""
    size_hw = static_input_hw(graph, request, default=(640, 640))
    output, prototypes = _outputs(graph)
    masks = 0 if prototypes is None else _static(prototypes)[1]
    shape = _static(output)
    cells = [len(cell_grid(size_hw, strides)) for strides in ((8, 16, 32), (8, 16, 32, 64))]
    classes: int | None
    if len(shape) == 3 and shape[2] in cells and shape[1] > 4 + masks:
        classes = shape[1] - 4 - masks
        rows = graph.add("Transpose", graph.as_float(output), perm=[0, 2, 1])
        head = _split(graph, rows, shape[2], classes, prototypes, objectness=False)
    elif len(shape) == 3 and shape[1] in [3 * count for count in cells] and shape[2] > 5 + masks:
        classes = shape[2] - 5 - masks
        head = _split(graph, graph.as_float(output), shape[1], classes, prototypes, objectness=True)
    elif len(shape) == 3 and shape[1] > 0 and shape[2] == 6 and prototypes is None:
        head, classes = _finished(graph, output, shape[1]), None
    else:
        found = ", ".join(f"'{t.name}' {list(t.shape)}" for t in graph.outputs)
        raise ExportError(
            f"{graph.source}: the outputs are {found}, family ultralytics at {size_hw[0]}x{size_hw[1]} "
            f"wants {EXPECTS}, A = {cells}; check --family and --size"
        )
    return Imported(
        task="detect" if prototypes is None else "instance",
        head=head,
        preprocess=PreprocessSpec(size_hw=size_hw, resize="letterbox", pad_value=114, color="rgb", scale=1 / 255),
        postprocess=PostprocessSpec(iou_threshold=0.7),
        classes=classes,
    )


def _outputs(graph: GraphEditor) -> tuple[TensorSpec, TensorSpec | None]:
    """The output of rank 3 and, for a segmentation network, the prototypes of rank 4."""
    ranked = {len(tensor.shape): tensor for tensor in graph.outputs}
    if len(graph.outputs) == 2 and set(ranked) == {3, 4}:
        return ranked[3], ranked[4]
    return graph.only_output("ultralytics", EXPECTS), None


def _static(tensor: TensorSpec) -> tuple[int, ...]:
    return tuple(dim if isinstance(dim, int) else -1 for dim in tensor.shape)


def _split(
    graph: GraphEditor, rows: str, anchors: int, classes: int, prototypes: TensorSpec | None, *, objectness: bool
) -> HeadSpec:
    """The head of `rows` [1, anchors, 4 box + 1 objectness if any + classes + mask coefficients]."""
    first = 5 if objectness else 4
    scores = graph.cut(rows, first, first + classes, 2)
    if objectness:
        scores = graph.add("Mul", scores, graph.cut(rows, 4, 5, 2))
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {
        "boxes": (graph.cut(rows, 0, 4, 2), (1, anchors, 4)),
        "scores": (scores, (1, anchors, classes)),
    }
    if prototypes is None:
        graph.set_outputs(tensors)
        return HeadSpec(kind="dense", outputs=_BOXES_AND_SCORES, boxes="cxcywh_pixels")
    shape = _static(prototypes)
    coefficients = graph.cut(rows, first + classes, first + classes + shape[1], 2)
    tensors |= {
        "coefficients": (coefficients, (1, anchors, shape[1])),
        "prototypes": (graph.as_float(prototypes), shape),
    }
    graph.set_outputs(tensors)
    return HeadSpec(kind="prototypes", outputs={**_BOXES_AND_SCORES, **_MASKS}, boxes="cxcywh_pixels")


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
