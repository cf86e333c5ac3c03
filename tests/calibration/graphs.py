"""Small networks with the structures that quantization has rules for."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[np.float32]


class Builder:
    """A graph that grows by one convolution, activation or join at a time; weights follow from the seed."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: npt.ArrayLike) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def add(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def conv(self, tensor: str, channels: tuple[int, int], name: str, *, kernel: int = 3, group: int = 1) -> str:
        shape = (channels[1], channels[0] // group, kernel, kernel)
        weight = self.rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)
        bias = self.rng.normal(0, 0.1, channels[1]).astype(np.float32)
        inputs = [tensor, self.constant(f"{name}/w", weight), self.constant(f"{name}/b", bias)]
        return self.add("Conv", inputs, name, kernel_shape=[kernel, kernel], pads=[kernel // 2] * 4, group=group)

    def model(self, outputs: dict[str, tuple[int, ...]], *, opset: int = 17, size: int = 16) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, size, size])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in outputs.items()],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
        onnx.checker.check_model(model)
        return model


def residual_network() -> onnx.ModelProto:
    """Two convolutions, a residual block, a concatenation with a max-pool, a head."""
    net = Builder()
    stem = net.add("Relu", [net.conv("images", (3, 16), "stem")], "stem_act")
    branch = net.add("Relu", [net.conv(stem, (16, 16), "a")], "a_act")
    branch = net.conv(branch, (16, 16), "b")
    joined = net.add("Relu", [net.add("Add", [branch, stem], "add")], "add_act")
    pooled = net.add("MaxPool", [joined], "pool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
    wide = net.add("Concat", [joined, pooled], "concat", axis=1)
    other = net.add("Relu", [net.conv(joined, (16, 16), "side")], "side_act")
    body = net.add("Relu", [net.conv(wide, (32, 16), "body")], "body_act")
    both = net.add("Add", [other, body], "sum")
    net.add("Sigmoid", [net.conv(both, (16, 8), "head", kernel=1)], "output")
    return net.model({"output": (1, 8, 16, 16)})


def run(model: onnx.ModelProto, image: Array, *, faithful: bool = False) -> dict[str, Array]:
    """All outputs for one input; `faithful` keeps every quantizer where it is written."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    if faithful:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": image}), strict=True))


def images(count: int, size: int = 16) -> list[Array]:
    rng = np.random.default_rng(7)
    return [rng.random((1, 3, size, size), np.float32) for _ in range(count)]
