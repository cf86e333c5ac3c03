"""Any ONNX file whose outputs a recipe describes: which output plays which role of which head, and what is still to be done
to it. What can be done once is done in the graph, so that the device sees the head alone.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from onnx import TensorProto

from edgewright.export.families import Imported
from edgewright.export.graph_editor import GraphEditor
from edgewright.export.model_spec import requested_labels
from edgewright.export.output_part import Part, as_planes, as_rows, chosen, output_part, reshaped, wrong_shape
from edgewright.export.request import DESCRIPTION_KEYS, ExportRequest, Layout
from edgewright.runtime.errors import ExportError, UsageError
from edgewright.runtime.spec import BoxFormat, HeadSpec, PostprocessSpec, PreprocessSpec, Task

EXPECTS = "outputs as the recipe's keys `head`, `boxes_output`, `scores_output`, ... say"
KEYS = DESCRIPTION_KEYS
# Without these, a network can be fed in a way that costs accuracy and shows nowhere.
_REQUIRED = ("head", "color", "resize", "scale")


def import_onnx(graph: GraphEditor, request: ExportRequest) -> Imported:
    """Make the outputs those of the head that the request names."""
    missing = [key for key in _REQUIRED if getattr(request, key) is None]
    if request.head is None or missing:
        raise UsageError(
            f"family generic knows only what the recipe says, and it does not say: {', '.join(missing)}; "
            "write a recipe (.yaml) with these keys"
        )
    unread = sorted(
        set(request.given(*KEYS)) - {"head", "activation", "class_map", "background_index"} - _KEYS[request.head]
    )
    if unread:
        raise UsageError(
            f"head {request.head} does not read {', '.join(unread)}; leave them out, or check the key head"
        )
    preprocess = _static_input(graph, request)
    build, task = _HEADS[request.head]
    head, classes = build(graph, request)
    return Imported(
        task=task,
        head=head,
        preprocess=preprocess,
        postprocess=PostprocessSpec(),
        classes=classes,
    )


def _static_input(graph: GraphEditor, request: ExportRequest) -> PreprocessSpec:
    """How the input is fed, after giving it a static shape with batch 1."""
    tensor, layout = graph.only_input(), request.layout or "nchw"
    sides = tensor.shape[2:] if layout == "nchw" else tensor.shape[1:3]
    known = tuple(side for side in sides if isinstance(side, int) and side > 0)
    size_hw = request.size or known
    if len(size_hw) != 2:
        raise UsageError(
            f"{graph.source}: input '{tensor.name}' {list(tensor.shape)} leaves its size open; say it: size: [480, 640]"
        )
    if tensor.dtype not in ("float32", "float16", "uint8"):
        raise ExportError(
            f"{graph.source}: input '{tensor.name}' takes {tensor.dtype}; float32, float16 and uint8 can be fed, convert the network"
        )
    channels = 1 if request.color == "gray" else 3
    preprocess = PreprocessSpec(
        size_hw=(size_hw[0], size_hw[1]),
        layout=layout,
        color=request.color or "rgb",
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        dtype=tensor.dtype,
    )
    have = tensor.shape[1 if layout == "nchw" else 3]
    if isinstance(have, int) and have > 0 and have != channels:
        raise ExportError(
            f"{graph.source}: input '{tensor.name}' {list(tensor.shape)} has {have} channels as {layout}, "
            f"color {request.color} gives {channels}; check the keys color and layout"
        )
    graph.freeze_input(preprocess.tensor_shape)
    return preprocess


def _dense(graph: GraphEditor, request: ExportRequest) -> tuple[HeadSpec, int | None]:
    parts, box_format = _boxes_and_scores(graph, request)
    return HeadSpec(kind="dense", outputs=_published(graph, parts), boxes=box_format), parts["scores"].shape[2]


def _prototypes(graph: GraphEditor, request: ExportRequest) -> tuple[HeadSpec, int | None]:
    parts, box_format = _boxes_and_scores(graph, request)
    prototypes = as_planes(graph, _output(graph, request, "prototypes"), _output_layout(request), role="prototypes")
    raw = _output(graph, request, "coefficients")
    coefficients = as_rows(graph, raw, parts["boxes"].shape[1], columns=prototypes.shape[1], role="coefficients")
    outputs = _published(graph, {**parts, "coefficients": coefficients, "prototypes": prototypes})
    return HeadSpec(kind="prototypes", outputs=outputs, boxes=box_format), parts["scores"].shape[2]


def _boxes_and_scores(graph: GraphEditor, request: ExportRequest) -> tuple[dict[str, Part], BoxFormat]:
    boxes, box_format = _boxes(graph, request)
    rows = boxes.shape[1]
    raw = as_rows(graph, _output(graph, request, "scores"), rows, role="scores")
    scores = _activated(graph, raw, request.activation, axis=2)
    scores = chosen(graph, scores, _labelled_classes(request, scores.shape[2], with_background=False), 2)
    if request.objectness_output is not None:
        raw = as_rows(graph, output_part(graph, request.objectness_output), rows, columns=1, role="objectness")
        # Objectness stands for itself, whatever the classes compete by.
        objectness = _activated(graph, raw, None if request.activation in (None, "none") else "sigmoid", axis=2)
        scores = replace(scores, name=graph.add("Mul", scores.name, objectness.name))
    return {"boxes": boxes, "scores": scores}, box_format


def _final(graph: GraphEditor, request: ExportRequest) -> tuple[HeadSpec, int | None]:
    boxes, box_format = _boxes(graph, request)
    row = (1, boxes.shape[1])
    scores, classes = (
        as_rows(graph, _output(graph, request, role), row[1], columns=1, role=role) for role in ("scores", "classes")
    )
    scores = reshaped(graph, _activated(graph, scores, request.activation, axis=2), row)
    classes = reshaped(graph, classes, row)
    numbers = request.class_map
    if numbers is None and request.background_index is not None:
        count = len(requested_labels(request, None).labels)
        numbers = _labelled_classes(request, count + 1, with_background=False)
    if numbers is not None:
        classes = _renumbered(graph, classes, numbers)
    parts = {"boxes": boxes, "scores": scores, "classes": _as_integer(graph, classes)}
    if request.count_output is not None:
        parts["count"] = _as_integer(graph, reshaped(graph, output_part(graph, request.count_output), (1,)))
    head = HeadSpec(kind="final", outputs=_published(graph, parts), boxes=box_format)
    return head, None if numbers is None else len(numbers)


def _semantic(graph: GraphEditor, request: ExportRequest) -> tuple[HeadSpec, int | None]:
    pixels = _output(graph, request, "pixels")
    if pixels.is_integer:
        return _class_ids(graph, request, pixels)
    planes = as_planes(graph, pixels, _output_layout(request), role="pixels")
    if planes.shape[1] == 1:
        probability = _activated(graph, planes, request.activation, axis=1)
        return HeadSpec(kind="semantic", outputs=_published(graph, {"probability": probability}), background_id=0), 2
    # Sigmoid and softmax do not change which class is the largest, so they are left out.
    classes = _labelled_classes(request, planes.shape[1], with_background=True)
    outputs = _published(graph, {"logits": chosen(graph, planes, classes, 1)})
    return HeadSpec(kind="semantic", outputs=outputs, background_id=_background_id(request, classes)), len(classes)


def _class_ids(graph: GraphEditor, request: ExportRequest, ids: Part) -> tuple[HeadSpec, int | None]:
    sides = ids.shape[-2:] if ids.shape[-1] != 1 or len(ids.shape) < 4 else ids.shape[1:3]
    if len(ids.shape) not in (2, 3, 4) or -1 in sides or np.prod(ids.shape) not in (np.prod(sides), -np.prod(sides)):
        raise wrong_shape(graph, "pixels", ids, "class ids [1, height, width], or floats [1, C, height, width]")
    ids = reshaped(graph, ids, (1, *sides))
    classes = request.class_map
    if classes is not None:
        ids = _renumbered(graph, ids, classes)
    background = request.background_index if classes is None else _background_id(request, classes)
    outputs = _published(graph, {"class_ids": _as_integer(graph, ids)})
    head = HeadSpec(kind="semantic", outputs=outputs, background_id=background)
    return head, None if classes is None else len(classes)


def _published(graph: GraphEditor, parts: dict[str, Part]) -> dict[str, str]:
    """Make the parts the graph's outputs, each called as its role."""
    integer = [role for role, part in parts.items() if part.is_integer]
    graph.set_outputs({role: (part.name, part.shape) for role, part in parts.items()}, integer=integer)
    return {role: role for role in parts}


_Build = Callable[[GraphEditor, ExportRequest], tuple[HeadSpec, int | None]]
_DETECTION_KEYS = {"boxes_output", "scores_output", "box_format"}
_KEYS = {
    "dense": _DETECTION_KEYS | {"objectness_output"},
    "final": _DETECTION_KEYS | {"classes_output", "count_output"},
    "prototypes": _DETECTION_KEYS | {"objectness_output", "coefficients_output", "prototypes_output", "output_layout"},
    "semantic": {"pixels_output", "output_layout"},
}
_FORMATS: dict[tuple[bool, bool], BoxFormat] = {
    (False, False): "xyxy_pixels",
    (False, True): "xyxy_unit",
    (True, False): "cxcywh_pixels",
    (True, True): "cxcywh_unit",
}
_HEADS: dict[str, tuple[_Build, Task]] = {
    "dense": (_dense, "detect"),
    "final": (_final, "detect"),
    "prototypes": (_prototypes, "instance"),
    "semantic": (_semantic, "semantic"),
}


def _output(graph: GraphEditor, request: ExportRequest, role: str) -> Part:
    """The output for a role: the one that the recipe names, else the one of that name, else the only one."""
    named: str | None = getattr(request, f"{role}_output")
    names = [tensor.name for tensor in graph.outputs]
    if named is None and role not in names and not (role == "pixels" and len(names) == 1):
        raise UsageError(
            f"head {request.head} wants {role}, and no output of {graph.source} is called so; "
            f"say which one holds them with {role}_output: one of {', '.join(names)}, or a part of one"
        )
    return output_part(graph, named or (role if role in names else names[0]))


def _boxes(graph: GraphEditor, request: ExportRequest) -> tuple[Part, BoxFormat]:
    """Boxes [1, N, 4] as the head takes them."""
    if request.box_format is None:
        raise UsageError(
            f"head {request.head} wants boxes; say what their numbers mean with box_format: xyxy_pixels, ..."
        )
    part = _output(graph, request, "boxes")
    rest = [dim for dim in part.shape if dim != 1]
    if 4 in rest:
        rest.remove(4)
    count = rest[0] if rest else 1
    boxes = as_rows(graph, part, count, columns=4, role="boxes")
    order, unit = request.box_format.split("_")
    if order == "yxyx":
        boxes = chosen(graph, boxes, (1, 0, 3, 2), 2)
    elif order == "xywh":
        low = graph.cut(boxes.name, 0, 2, 2)
        high = graph.add("Add", low, graph.cut(boxes.name, 2, 4, 2))
        boxes = replace(boxes, name=graph.add("Concat", low, high, axis=2))
    return boxes, _FORMATS[order == "cxcywh", unit == "unit"]


def _output_layout(request: ExportRequest) -> Layout:
    return request.output_layout or request.layout or "nchw"


def _activated(graph: GraphEditor, part: Part, activation: str | None, *, axis: int) -> Part:
    """Probabilities of scores whose classes lie along `axis`."""
    if activation == "softmax" and part.shape[axis] == 1:
        raise UsageError(
            f"'{part.text}' holds one score at a time, of which softmax always makes 1; say activation: sigmoid"
        )
    if activation == "sigmoid":
        return replace(part, name=graph.add("Sigmoid", part.name))
    return replace(part, name=graph.add("Softmax", part.name, axis=axis)) if activation == "softmax" else part


def _labelled_classes(request: ExportRequest, classes: int, *, with_background: bool) -> tuple[int, ...]:
    """Which of the network's classes the labels stand for, in their order."""
    every = tuple(index for index in range(classes) if with_background or index != request.background_index)
    asked = request.class_map or every
    for key, values in (("class_map", asked), ("background_index", (request.background_index or 0,))):
        if max(values) >= classes:
            raise UsageError(
                f"{key} names class {max(values)}, {Path(request.source).name} has {classes} classes, from 0"
            )
    return asked


def _background_id(request: ExportRequest, classes: tuple[int, ...]) -> int | None:
    """Which label is the background."""
    background = request.background_index
    return classes.index(background) if background is not None and background in classes else None


def _renumbered(graph: GraphEditor, ids: Part, classes: tuple[int, ...]) -> Part:
    """Class numbers of the network as positions in `classes`; `len(classes)` for any other number."""
    table = np.full(max(classes) + 3, len(classes))
    table[np.array(classes) + 1] = np.arange(len(classes))
    # One entry more at either end takes what lies outside. Clip knows integers from opset 12 only.
    number = graph.add("Cast", ids.name, to=TensorProto.FLOAT) if ids.is_integer else ids.name
    shifted = graph.add("Add", graph.add("Round", number), graph.constant(1, np.float32))
    bounds = graph.constant(0, np.float32), graph.constant(len(table) - 1, np.float32)
    index = graph.add("Cast", graph.add("Clip", shifted, *bounds), to=TensorProto.INT64)
    return replace(ids, name=graph.add("Gather", graph.constant(table, np.int32), index), is_integer=True)


def _as_integer(graph: GraphEditor, part: Part) -> Part:
    return replace(part, name=graph.add("Cast", part.name, to=TensorProto.INT32), is_integer=True)
