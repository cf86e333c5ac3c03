"""A promptable network without training: it masks what is bright inside the box that it is given."""

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edgewright.export.bundling import Origin, write_bundle
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.spec import (
    GraphSpec,
    HeadSpec,
    ModelSpec,
    PostprocessSpec,
    PreprocessSpec,
    PromptSpec,
    Resize,
    TensorSpec,
)

SIDE, CELLS, SLOTS = 64, 32, 4
_STEP = SIDE // CELLS
_EMBEDDING = TensorSpec(name="image_embedding", shape=(1, 1, CELLS, CELLS), dtype="float32")
# The answer, the whole box, everything that is bright, and everything else.
QUALITY = (0.75, 0.5, 0.875, 0.125)


def bright_in_box_bundle(path: Path, *, resize: Resize = "stretch", prompts: PromptSpec | None = None) -> Bundle:
    """A bundle whose decoder reads a box in its first two slots; a mask follows the cells of 2 x 2 input pixels.

    The logits of the answer are the smaller of the brightness above half, in percent, and 50 for every input pixel that a
    cell's centre lies inside the box: masks end where their cells end.
    """
    spec = ModelSpec(
        name="bright_in_box",
        task="prompted",
        labels=("object",),
        inputs=(TensorSpec(name="images", shape=(1, 3, SIDE, SIDE), dtype="float32"),),
        outputs=(_EMBEDDING,),
        preprocess=PreprocessSpec(size_hw=(SIDE, SIDE), resize=resize, pad_value=0, scale=1 / 255),
        head=HeadSpec(kind="prompted", outputs={"masks": "masks", "quality": "quality"}, prompts=prompts),
        postprocess=PostprocessSpec(conf_threshold=0.0),
        graphs=(
            GraphSpec(
                name="mask_decoder",
                inputs=(
                    _EMBEDDING,
                    TensorSpec(name="points", shape=(1, SLOTS, 2), dtype="float32"),
                    TensorSpec(name="point_labels", shape=(1, SLOTS), dtype="int32"),
                ),
                outputs=(
                    TensorSpec(name="masks", shape=(1, 4, CELLS, CELLS), dtype="float32"),
                    TensorSpec(name="quality", shape=(1, 4), dtype="float32"),
                ),
            ),
        ),
    )
    corners = np.array([[[8, 8], [40, 48], [0, 0], [0, 0]]], np.float32)
    return write_bundle(
        path,
        _encoder(spec),
        spec,
        Origin(source="tests", source_sha256=None, family="prompted", exporter="onnx", opset=17),
        complexity=None,
        graphs={"mask_decoder": _decoder(spec)},
        feeds={"input:points": corners, "input:point_labels": np.array([[2, 3, -1, -1]], np.int32)},
        replace=True,
    )


def bright_boxes(boxes_xyxy: list[tuple[int, int, int, int]], size_hw: tuple[int, int] = (96, 128)) -> Any:
    """A dark picture with white rectangles."""
    image = np.full((*size_hw, 3), 20, np.uint8)
    for x1, y1, x2, y2 in boxes_xyxy:
        image[y1:y2, x1:x2] = 255
    return image


def _encoder(spec: ModelSpec) -> bytes:
    nodes = [
        helper.make_node("AveragePool", ["images"], ["pooled"], kernel_shape=[_STEP, _STEP], strides=[_STEP, _STEP]),
        helper.make_node("ReduceMean", ["pooled"], ["image_embedding"], axes=[1]),
    ]
    return _model(nodes, {}, spec.inputs, spec.outputs)


def _decoder(spec: ModelSpec) -> bytes:
    centres = (np.arange(CELLS, dtype=np.float32) + 0.5) * _STEP
    constants: dict[str, Any] = {
        "x": centres.reshape(1, 1, 1, -1),
        "y": centres.reshape(1, 1, -1, 1),
        "half": np.float32(0.5),
        "percent": np.float32(100),
        "fifty": np.float32(50),
        "nothing": np.float32(0),
        "sure": np.array([QUALITY], np.float32),
        "one": np.array([1, 1, 1, 1], np.int64),
    }
    nodes = [helper.make_node("Split", ["points"], ["first", "second", "rest"], axis=1)]
    constants["pieces"] = np.array([1, 1, SLOTS - 2], np.int64)
    nodes[0].input.append("pieces")
    for corner in ("first", "second"):
        nodes += [
            helper.make_node("Split", [corner], [f"{corner}_x", f"{corner}_y"], axis=2),
            *(helper.make_node("Reshape", [f"{corner}_{axis}", "one"], [f"{corner}_at_{axis}"]) for axis in "xy"),
        ]
    nodes += [
        helper.make_node("Sub", ["x", "first_at_x"], ["left"]),
        helper.make_node("Sub", ["second_at_x", "x"], ["right"]),
        helper.make_node("Sub", ["y", "first_at_y"], ["top"]),
        helper.make_node("Sub", ["second_at_y", "y"], ["bottom"]),
        helper.make_node("Min", ["left", "right", "top", "bottom"], ["distance"]),
        helper.make_node("Mul", ["distance", "fifty"], ["box"]),
        helper.make_node("Sub", ["image_embedding", "half"], ["above"]),
        helper.make_node("Mul", ["above", "percent"], ["bright"]),
        helper.make_node("Min", ["box", "bright"], ["answer"]),
        helper.make_node("Neg", ["answer"], ["others"]),
        helper.make_node("Concat", ["answer", "box", "bright", "others"], ["masks"], axis=1),
        # Labels have no say, but every input of a graph is used.
        helper.make_node("Cast", ["point_labels"], ["labels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["labels"], ["mean"], axes=[1]),
        helper.make_node("Mul", ["mean", "nothing"], ["naught"]),
        helper.make_node("Add", ["sure", "naught"], ["quality"]),
    ]
    graph = (spec.graphs or ())[0]
    return _model(nodes, constants, graph.inputs, graph.outputs)


def _model(
    nodes: list[Any], constants: dict[str, Any], inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> bytes:
    kinds = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32}
    infos = [
        [helper.make_tensor_value_info(t.name, kinds[t.dtype], t.shape) for t in some] for some in (inputs, outputs)
    ]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", infos[0], infos[1], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    content: bytes = model.SerializeToString()
    return content
