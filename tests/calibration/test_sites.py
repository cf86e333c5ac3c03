import numpy as np
from tests.calibration.graphs import Builder, residual_network

from edgewright.calibration.network import prepared
from edgewright.calibration.sites import choose_sites


def test_only_the_skip_input_of_a_residual_addition_is_quantized() -> None:
    sites = choose_sites(prepared(residual_network()))
    # The branch ends in convolution `b` and the shorter way in `stem_act`; the second addition joins two activations.
    assert [(skip.node, skip.tensor) for skip in sites.skips] == [("add", "stem_act")]


def test_concatenated_and_pooled_tensors_share_one_scale() -> None:
    sites = choose_sites(prepared(residual_network()))
    assert [set(group) for group in sites.groups] == [{"add_act", "concat"}]


def test_the_head_stays_float_and_says_why() -> None:
    sites = choose_sites(prepared(residual_network()))
    assert sites.kept == {"head": "the last layer before an output"}
    assert [layer.node for layer in sites.layers] == ["stem", "a", "b", "side", "body"]


def test_layers_that_are_asked_to_stay_float_do() -> None:
    sites = choose_sites(prepared(residual_network()), float_layers=("a",))
    assert sites.kept["a"] == "asked to stay float"
    assert "a" not in [layer.node for layer in sites.layers]


def test_narrow_and_depthwise_layers_stay_float() -> None:
    net = Builder()
    tensor = net.conv("images", (3, 32), "stem")
    deep = net.conv(tensor, (32, 32), "depthwise", group=32)
    narrow = net.conv(deep, (32, 8), "narrow")
    net.conv(net.conv(narrow, (8, 32), "wide"), (32, 32), "head")
    network = prepared(net.model({"head": (1, 32, 16, 16)}))
    kept = choose_sites(network, depthwise=False).kept
    assert kept["depthwise"] == "depthwise"
    assert kept["narrow"] == kept["wide"] == "fewer than 16 channels"
    assert "depthwise" not in choose_sites(network, depthwise=True).kept


def test_an_expectation_over_a_softmax_is_decoding_and_not_a_head() -> None:
    """The distribution of box sides of YOLOv8: softmax over 16 bins, then a 1 x 1 convolution with 0, 1, ..., 15."""
    net = Builder()
    bins = net.conv(net.conv("images", (3, 32), "stem"), (32, 16), "head")
    sides = net.add("Softmax", [bins], "softmax", axis=1)
    weight = net.constant("bins", np.arange(16, dtype=np.float32).reshape(1, 16, 1, 1))
    net.add("Conv", [sides, weight], "output")
    kept = choose_sites(prepared(net.model({"output": (1, 1, 16, 16)}))).kept
    assert kept == {"head": "the last layer before an output", "output": "it reads probabilities"}


def test_the_channels_of_weights_lie_where_the_operator_puts_them() -> None:
    net = Builder()
    tensor = net.conv("images", (3, 16), "conv")
    kernel = net.constant("t/w", np.ones((16, 24, 2, 2), np.float32))
    tensor = net.add("ConvTranspose", [tensor, kernel], "transposed", strides=[2, 2])
    flat = net.add("Flatten", [net.add("GlobalAveragePool", [tensor], "gap")], "flat")
    tensor = net.add("Gemm", [flat, net.constant("g/w", np.ones((32, 24), np.float32))], "gemm", transB=1)
    tensor = net.add("MatMul", [tensor, net.constant("m/w", np.ones((32, 20), np.float32))], "matmul")
    net.add("Gemm", [tensor, net.constant("h/w", np.ones((20, 16), np.float32))], "head")
    sites = choose_sites(prepared(net.model({"head": (1, 16)})), keep_heads=False)
    assert {layer.node: layer.axis for layer in sites.layers} == {
        "conv": 0, "transposed": 1, "gemm": 0, "matmul": 1, "head": 1,
    }  # fmt: skip
