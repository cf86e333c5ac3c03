import numpy as np
import onnx
from onnx import TensorProto
from tests.calibration.graphs import Builder, images, residual_network, run

from edgewright.calibration.half import decoding, to_half
from edgewright.calibration.network import prepared


def kinds(model: onnx.ModelProto) -> dict[str, int]:
    return {value.name: value.type.tensor_type.elem_type for value in (*model.graph.value_info, *model.graph.output)}


def test_a_network_in_half_precision_is_the_same_within_half_precision() -> None:
    network = prepared(residual_network())
    half = to_half(network, {})
    onnx.checker.check_model(half.model, full_check=True)
    for image in images(3):
        wanted, got = run(network.model, image)["output"], run(half.model, image)["output"]
        assert got.dtype == np.float32
        assert 0 < np.abs(got - wanted).max() < 5e-3


def test_weights_are_half_as_large_and_inputs_and_outputs_stay_float() -> None:
    network = prepared(residual_network())
    model = to_half(network, {}).model
    assert {tensor.data_type for tensor in model.graph.initializer} == {TensorProto.FLOAT16}
    assert [v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)] == [TensorProto.FLOAT] * 2
    assert len(model.SerializeToString()) < 0.65 * len(network.model.SerializeToString())


def test_nodes_that_would_overflow_stay_float_and_say_why() -> None:
    network = prepared(residual_network())
    half = to_half(network, {"a_act": 50_000.0})
    assert {name for name, reason in half.kept.items() if "5e+04" in reason} == {"a_act", "b"}
    types = kinds(half.model)
    assert types["a_act"] == TensorProto.FLOAT
    assert types["stem_act"] == TensorProto.FLOAT16


def test_a_weight_that_is_too_large_keeps_its_node_float() -> None:
    net = Builder()
    tensor = net.conv("images", (3, 16), "stem")
    scaled = net.add("Mul", [tensor, net.constant("large", np.float32(1e5))], "mul")
    net.conv(scaled, (16, 16), "head")
    half = to_half(prepared(net.model({"head": (1, 16, 16, 16)})), {})
    assert "'large' reaches 1e+05" in half.kept["mul"]


def test_decoding_behind_the_heads_stays_float() -> None:
    net = Builder()
    boxes = net.conv(net.conv("images", (3, 16), "stem"), (16, 16), "head")
    net.add("Mul", [net.add("Exp", [boxes], "exp"), net.constant("stride", np.float32(32))], "output")
    network = prepared(net.model({"output": (1, 16, 16, 16)}))
    assert decoding(network) == {"exp", "output"}
    half = to_half(network, {})
    assert {name for name, reason in half.kept.items() if reason == "decoding"} == {"exp", "output"}


def test_scales_of_a_resize_stay_float() -> None:
    net = Builder()
    tensor = net.conv("images", (3, 16), "stem")
    scales = net.constant("scales", np.array([1, 1, 2, 2], np.float32))
    larger = net.add("Resize", [tensor, "", scales], "resize", mode="nearest")
    net.conv(larger, (16, 16), "head")
    model = to_half(prepared(net.model({"head": (1, 16, 32, 32)})), {}).model
    onnx.checker.check_model(model, full_check=True)
    resize = next(node for node in model.graph.node if node.op_type == "Resize")
    assert resize.input[2] == "scales"
    assert kinds(model)["resize"] == TensorProto.FLOAT16


def test_a_tensor_is_cast_once_for_all_its_readers() -> None:
    network = prepared(residual_network())
    model = to_half(network, {}, float_nodes=("side", "side_act", "concat", "pool")).model
    casts = [node.input[0] for node in model.graph.node if node.op_type == "Cast"]
    assert len(casts) == len(set(casts))


def test_infinity_stays_infinity() -> None:
    net = Builder()
    tensor = net.conv("images", (3, 16), "stem")
    bounded = net.add("Max", [tensor, net.constant("low", np.float32(-np.inf))], "bounded")
    net.conv(bounded, (16, 16), "head")
    model = to_half(prepared(net.model({"head": (1, 16, 16, 16)})), {}).model
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert np.isneginf(values["low/half"])
