"""YOLOX: one output [1, A, 5 + C] in grid units, as its ONNX export without `--decode_in_inference` gives it, or the torch module.

Layout per cell: x, y, log w, log h, objectness, C class probabilities (sigmoid done); cells of strides 8, 16, 32 in row
order. Decoding: Ge et al., "YOLOX: Exceeding YOLO Series in 2021", arXiv:2107.08430, section 2.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from edgewright.export.families import Imported
from edgewright.export.families._grid import cell_grid, static_input_hw
from edgewright.export.graph_editor import GraphEditor
from edgewright.export.request import ExportRequest

if TYPE_CHECKING:
    from edgewright.export.torch_source import TorchNetwork, Wrapped
from edgewright.runtime.errors import ExportError, UsageError
from edgewright.runtime.spec import HeadSpec, PostprocessSpec, PreprocessSpec

EXPECTS = "[1, A, 5 + classes], A = cells of strides 8, 16 and 32 (or 8 to 64)"
KEYS = ("activation",)
TAKES_ANY_MODULE = True
STRIDES = ((8, 16, 32), (8, 16, 32, 64))


def import_onnx(graph: GraphEditor, request: ExportRequest) -> Imported:
    """Append the decoding: boxes as centre and size in input pixels, score = objectness * class."""
    size_hw = static_input_hw(graph, request, default=(416, 416))
    output = graph.only_output("yolox", EXPECTS)
    shape = output.shape
    grids = {len(cell_grid(size_hw, strides)): strides for strides in STRIDES}
    if len(shape) != 3 or shape[1] not in grids or not isinstance(shape[2], int) or shape[2] < 6:
        raise ExportError(
            f"{graph.source}: output '{output.name}' is {list(shape)}, family yolox at {size_hw[0]}x{size_hw[1]} wants {EXPECTS} "
            f"= {sorted(grids)}; check --family and --size"
        )
    anchors, classes = int(shape[1]), shape[2] - 5
    cells = cell_grid(size_hw, grids[anchors])
    raw = graph.as_float(output)
    grid_xy, stride = graph.constant(cells[None, :, :2], np.float32), graph.constant(cells[None, :, 2:], np.float32)
    xy = graph.add("Mul", graph.add("Add", graph.cut(raw, 0, 2, 2), grid_xy), stride)
    wh = graph.add("Mul", graph.add("Exp", graph.cut(raw, 2, 4, 2)), stride)
    sure = graph.cut(raw, 4, 5 + classes, 2)
    sure = graph.add("Sigmoid", sure) if gives_logits(request) else sure
    scores = graph.add("Mul", graph.cut(sure, 1, 1 + classes, 2), graph.cut(sure, 0, 1, 2))
    graph.set_outputs(
        {"boxes": (graph.add("Concat", xy, wh, axis=2), (1, anchors, 4)), "scores": (scores, (1, anchors, classes))}
    )
    return imported(size_hw, classes)


def imported(size_hw: tuple[int, int], classes: int) -> Imported:
    """How YOLOX is fed and what its decoded outputs mean."""
    return Imported(
        task="detect",
        head=HeadSpec(kind="dense", outputs={"boxes": "boxes", "scores": "scores"}, boxes="cxcywh_pixels"),
        preprocess=PreprocessSpec(size_hw=size_hw, resize="letterbox_top_left", rounding="floor", color="bgr"),
        postprocess=PostprocessSpec(iou_threshold=0.65),
        classes=classes,
    )


def gives_logits(request: ExportRequest) -> bool:
    """Whether objectness and classes still want their sigmoid; the official export has applied it."""
    if request.activation == "softmax":
        raise UsageError("YOLOX has no softmax; give activation: sigmoid for logits, or leave it out")
    return request.activation == "sigmoid"


def accepts(module: Any) -> bool:
    """Never: that a tensor of rows means YOLOX is for the user to say."""
    return False


def build(network: "TorchNetwork", request: ExportRequest) -> "Wrapped":
    """The torch module with its decoding."""
    from edgewright.export.yolox_torch import wrap

    return wrap(network, request)
