"""Tiny networks and bundles made in milliseconds, for tests that need a real one but not a good one."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgewright.export.from_onnx import import_onnx
from edgewright.export.request import ExportRequest
from edgewright.runtime.bundle import Bundle

LABELS = ("bolt", "nut", "washer")


def save_blue_blob_yolox(path: Path, *, size: int = 64) -> Path:
    """A YOLOX-style network without training: a cell is an object where its blue mean is high.

    Input `images` [1, 3, size, size] BGR 0..255; output `output` [1, A, 8] in grid units, strides 8, 16 and 32. The class
    is 0 where red is high too and 1 where green is; class 2 is never sure.
    """
    levels = []
    nodes = []
    weights = np.zeros((8, 3, 1, 1), np.float32)
    weights[4, 0] = 0.1  # objectness: blue
    weights[5, 2] = weights[6, 1] = 0.1
    bias = np.array([0.5, 0.5, 0.5, 0.5, -15, -15, -15, -3], np.float32)
    initializers = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias, "b")]
    initializers += [_ints(f"flat{s}", [1, 8, -1]) for s in (8, 16, 32)]
    initializers += [_ints("zero", [0]), _ints("four", [4]), _ints("eight", [8]), _ints("last", [2])]
    for stride in (8, 16, 32):
        kernel: dict[str, Any] = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
        nodes += [
            helper.make_node("AveragePool", ["images"], [f"p{stride}"], **kernel),
            helper.make_node("Conv", [f"p{stride}", "w", "b"], [f"c{stride}"]),
            helper.make_node("Reshape", [f"c{stride}", f"flat{stride}"], [f"f{stride}"]),
            helper.make_node("Transpose", [f"f{stride}"], [f"t{stride}"], perm=[0, 2, 1]),
        ]
        levels.append(f"t{stride}")
    nodes += [
        helper.make_node("Concat", levels, ["rows"], axis=1),
        helper.make_node("Slice", ["rows", "zero", "four", "last"], ["box"]),
        helper.make_node("Slice", ["rows", "four", "eight", "last"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["probabilities"]),
        helper.make_node("Concat", ["box", "probabilities"], ["output"], axis=2),
    ]
    anchors = sum((size // s) ** 2 for s in (8, 16, 32))
    return save_graph(path, nodes, initializers, ("images", [1, 3, size, size]), [("output", [1, anchors, 8])])


def save_constant_network(
    path: Path, outputs: dict[str, npt.NDArray[Any]], *, shape: tuple[Any, ...] = (1, 3, 64, 64), opset: int = 17
) -> Path:
    """A network that answers every picture with these outputs (its input is multiplied by zero and added)."""
    nodes = [helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0)]
    initializers = [numpy_helper.from_array(np.array(0, np.float32), "nought")]
    nodes.append(helper.make_node("Mul", ["mean", "nought"], ["nothing"]))
    infos = []
    for name, value in outputs.items():
        initializers.append(numpy_helper.from_array(value.astype(np.float32), f"raw_{name}"))
        nodes.append(helper.make_node("Add", [f"raw_{name}", "nothing"], [name]))
        infos.append((name, list(value.shape)))
    return save_graph(path, nodes, initializers, ("images", list(shape)), infos, opset=opset)


def save_graph(
    path: Path,
    nodes: list[onnx.NodeProto],
    initializers: list[onnx.TensorProto],
    image: tuple[str, list[Any]],
    outputs: list[tuple[str, list[Any]]],
    *,
    opset: int = 17,
) -> Path:
    """An ONNX file of these nodes with float32 input and outputs."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(image[0], TensorProto.FLOAT, image[1])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return path


def tiny_bundle(folder: Path, **changes: Any) -> Bundle:
    """A bundle of the blue blob network in `folder`/bundle; `changes` go into the export request."""
    source = save_blue_blob_yolox(folder / "blob.onnx")
    labels = folder / "labels.txt"
    labels.write_text("\n".join(LABELS) + "\n")
    request = ExportRequest(source=str(source), family="yolox", labels=str(labels), **changes)
    return import_onnx(request, folder / "bundle", replace=True)


def blob_image(size_hw: tuple[int, int] = (96, 128), box_xyxy: tuple[int, int, int, int] = (16, 24, 56, 64)) -> Any:
    """A dark picture with one blue-and-red rectangle, which the blue blob network calls a bolt."""
    image = np.full((*size_hw, 3), 20, np.uint8)
    x1, y1, x2, y2 = box_xyxy
    image[y1:y2, x1:x2] = (250, 20, 250)
    return image


def _ints(name: str, values: list[int]) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)
