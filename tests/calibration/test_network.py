import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tests.calibration.graphs import Builder, images, residual_network, run

from edgewright.calibration.network import prepared
from edgewright.runtime.errors import CalibrationError


def test_folding_batch_norm_changes_no_output() -> None:
    net = Builder()
    tensor = net.conv("images", (3, 8), "conv")
    rng = np.random.default_rng(1)
    values = {"g": rng.random(8) + 0.5, "be": rng.normal(size=8), "m": rng.normal(size=8), "v": rng.random(8) + 0.1}
    names = [net.constant(name, value.astype(np.float32)) for name, value in values.items()]
    net.add("BatchNormalization", [tensor, *names], "output", epsilon=1e-3)
    model = net.model({"output": (1, 8, 16, 16)})
    folded = prepared(model)
    assert [node.op_type for node in folded.nodes] == ["Conv"]
    image = images(1)[0]
    np.testing.assert_allclose(run(folded.model, image)["output"], run(model, image)["output"], rtol=1e-4, atol=1e-5)


def test_batch_norm_after_a_tensor_with_two_readers_stays() -> None:
    net = Builder()
    tensor = net.conv("images", (3, 8), "conv")
    names = [net.constant(name, np.ones(8, np.float32)) for name in ("g", "be", "m", "v")]
    normal = net.add("BatchNormalization", [tensor, *names], "norm")
    net.add("Add", [normal, tensor], "output")
    kinds = [node.op_type for node in prepared(net.model({"output": (1, 8, 16, 16)})).nodes]
    assert kinds == ["Conv", "BatchNormalization", "Add"]


def test_constant_nodes_become_initializers_and_all_nodes_get_names() -> None:
    model = residual_network()
    two = numpy_helper.from_array(np.asarray(2, np.float32), "value")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["two"], value=two))
    model.graph.node.append(helper.make_node("Mul", ["output", "two"], ["doubled"]))
    model.graph.output[0].name = "doubled"
    network = prepared(model)
    names = [node.name for node in network.nodes]
    assert "Constant" not in {node.op_type for node in network.nodes}
    assert all(names)
    assert len(names) == len(set(names))
    assert network.constant("two") == 2


def test_a_quantized_network_is_refused() -> None:
    model = residual_network()
    for name, value in (("s", np.float32(0.1)), ("z", np.int8(0))):
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    model.graph.node.insert(0, helper.make_node("QuantizeLinear", ["images", "s", "z"], ["q"]))
    with pytest.raises(CalibrationError, match="quantized already"):
        prepared(model)


def test_the_given_model_is_not_changed() -> None:
    model = residual_network()
    before = model.SerializeToString()
    prepared(model)
    assert model.SerializeToString() == before
    assert isinstance(model, onnx.ModelProto)
