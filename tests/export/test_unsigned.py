import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import openvino
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewright.export.unsigned import is_quantized, is_signed, with_unsigned_activations

Array = npt.NDArray[np.float32]


def concatenated(seed: int = 0) -> onnx.ModelProto:
    """Two quantized convolutions with a max-pool and a concatenation between them, all activations int8."""
    rng = np.random.default_rng(seed)
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def constant(name: str, values: npt.ArrayLike) -> str:
        constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def convolution(tensor: str, channels: tuple[int, int], name: str, scale: float) -> str:
        pair = [constant(f"{name}/s", np.float32(scale)), constant(f"{name}/z", np.int8(0))]
        nodes.append(helper.make_node("QuantizeLinear", [tensor, *pair], [f"{name}/q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}/q", *pair], [f"{name}/d"]))
        weight = rng.normal(0, (2 / (channels[0] * 9)) ** 0.5, (channels[1], channels[0], 3, 3))
        step = (np.abs(weight).max(axis=(1, 2, 3)) / 127).astype(np.float32)
        integers = np.clip(np.round(weight / step.reshape(-1, 1, 1, 1)), -127, 127).astype(np.int8)
        inputs = [constant(f"{name}/w", integers), constant(f"{name}/ws", step)]
        inputs.append(constant(f"{name}/wz", np.zeros(channels[1], np.int8)))
        nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}/wd"], axis=0))
        nodes.append(helper.make_node("Conv", [f"{name}/d", f"{name}/wd"], [name], kernel_shape=[3, 3], pads=[1] * 4))
        return name

    first = convolution("x", (32, 32), "first", 1 / 127)
    nodes.append(helper.make_node("Relu", [first], ["r"]))
    nodes.append(helper.make_node("MaxPool", ["r"], ["m"], kernel_shape=[5, 5], pads=[2] * 4, strides=[1, 1]))
    nodes.append(helper.make_node("Concat", ["r", "m"], ["c"], axis=1))
    last = convolution("c", (64, 64), "last", 4 / 127)
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 32, 20, 20])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, 64, 20, 20])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def faithful(model: onnx.ModelProto, x: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0], np.float32)


def in_openvino(model: onnx.ModelProto, x: Array) -> Array:
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return np.asarray(compiled({0: x})[0], np.float32)


def error(got: Array, wanted: Array) -> float:
    return float(np.abs(got - wanted).mean() / np.abs(wanted).mean())


X = np.random.default_rng(1).random((1, 32, 20, 20)).astype(np.float32)


def test_rewriting_signed_as_unsigned_changes_no_bit() -> None:
    signed = concatenated()
    unsigned = with_unsigned_activations(signed)
    assert is_signed(signed)
    assert not is_signed(unsigned)
    np.testing.assert_array_equal(faithful(unsigned, X), faithful(signed, X))


def test_weights_stay_signed() -> None:
    unsigned = with_unsigned_activations(concatenated())
    types = {tensor.name: tensor.data_type for tensor in unsigned.graph.initializer}
    assert types["first/w"] == types["first/wz"] == TensorProto.INT8


def test_openvino_computes_the_unsigned_graph_as_it_is_written() -> None:
    unsigned = with_unsigned_activations(concatenated())
    assert error(in_openvino(unsigned, X), faithful(unsigned, X)) < 0.02


@pytest.mark.xfail(strict=True, reason="OpenVINO's CPU plugin miscomputes signed activations around Concat")
def test_openvino_computes_the_signed_graph_as_it_is_written() -> None:
    """When this passes, OpenVINO has mended it, and unsigned activations are no longer needed."""
    signed = concatenated()
    assert error(in_openvino(signed, X), faithful(signed, X)) < 0.02


def test_a_float_graph_is_not_quantized() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    model = helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y]))
    assert not is_quantized(model)
    assert is_quantized(concatenated())
