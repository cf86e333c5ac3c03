from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper, numpy_helper
from tests.calibration.graphs import Array, images, residual_network, run

from edgewright.calibration.collectors import threshold
from edgewright.calibration.network import Network, opset_of, prepared
from edgewright.calibration.observe import Observation, observe
from edgewright.calibration.opsets import to_opset
from edgewright.calibration.qdq import (
    Activation,
    Range,
    activation_scale,
    quantized_weight,
    ranges_of,
    shared_ranges,
    weight_scales,
    write_qdq,
)
from edgewright.calibration.sites import Sites, choose_sites


def feed(image: Array) -> Callable[[], dict[str, Array]]:
    return lambda: {"images": image}


def calibrated() -> tuple[Network, Sites, Observation, dict[str, Range]]:
    network = prepared(residual_network())
    sites = choose_sites(network)
    seen = observe(network.model, sites.tensors, [feed(image) for image in images(4)])
    limits = {name: threshold("minmax", histogram) for name, histogram in seen.histograms.items()}
    return network, sites, seen, ranges_of(limits, lambda name: (seen.histograms[name].low, seen.histograms[name].high))


def constants(model: onnx.ModelProto) -> dict[str, npt.NDArray[Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_observed_ranges_are_those_of_the_tensors() -> None:
    network, sites, seen, _ = calibrated()
    stem = next(node for node in network.nodes if node.name == "stem_act")
    probe = onnx.ModelProto()
    probe.CopyFrom(network.model)
    probe.graph.output.append(helper.make_empty_tensor_value_info(stem.output[0]))
    highest = max(float(run(probe, image)["stem_act"].max()) for image in images(4))
    assert seen.histograms["stem_act"].high == pytest.approx(highest)
    assert set(seen.histograms) == set(sites.tensors)
    assert seen.images == 4


def test_the_quantized_network_is_the_float_one_within_its_steps() -> None:
    network, sites, _, ranges = calibrated()
    quantized = write_qdq(network, sites, ranges)
    onnx.checker.check_model(quantized, full_check=True)
    for image in images(3):
        wanted, got = run(network.model, image)["output"], run(quantized, image, faithful=True)["output"]
        assert np.abs(got - wanted).max() < 0.06
        assert np.abs(got - wanted).max() > 0


def test_scales_and_zero_points_are_those_that_tensorrt_wants() -> None:
    """TensorRT: zero point 0, one scale an activation, weights per output channel with an explicit axis, no bias and no
    output quantized."""
    network, sites, _, ranges = calibrated()
    quantized = write_qdq(network, sites, ranges)
    values = constants(quantized)
    layers = {layer.node for layer in sites.layers}
    for node in quantized.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale, zero = values[node.input[1]], values[node.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()
            assert (scale > 0).all()
            is_weight = node.input[0] in values
            assert scale.ndim == (1 if is_weight else 0)
            assert not is_weight or [a.name for a in node.attribute] == ["axis"]
        elif node.name in layers:
            assert node.input[0].endswith("/dequantized")
            assert values[node.input[2]].dtype == np.float32
    made_by = {name: node.op_type for node in quantized.graph.node for name in node.output}
    assert made_by["output"] == "Sigmoid"


def test_a_tensor_has_one_pair_for_all_its_readers_and_a_group_one_scale() -> None:
    network, sites, _, ranges = calibrated()
    quantized = write_qdq(network, sites, ranges)
    pairs = [node.input[0] for node in quantized.graph.node if node.op_type == "QuantizeLinear"]
    assert sorted(pairs) == sorted(sites.tensors)
    values = constants(quantized)
    assert values["add_act/scale"] == values["concat/scale"]


def test_a_channel_of_zeros_has_a_scale_that_half_precision_keeps() -> None:
    scales = weight_scales(np.zeros((4, 3, 1, 1), np.float32), 0, 8)
    assert (scales.astype(np.float16) > 0).all()
    assert activation_scale(Range(0.0, 0.0), "int8")[0].astype(np.float16) > 0


@pytest.mark.parametrize(("bits", "limit"), [(8, 127), (7, 63)])
def test_weights_fill_their_range_in_every_channel(bits: int, limit: int) -> None:
    weight = np.random.default_rng(0).normal(size=(3, 5, 2, 2)).astype(np.float32)
    for axis in (0, 1):
        scales = weight_scales(weight, axis, bits)
        integers = quantized_weight(weight, scales, axis, bits)
        assert np.abs(integers).max() == limit
        back = integers * scales.reshape([-1 if d == axis else 1 for d in range(4)])
        assert np.abs(back - weight).max() <= scales.max() / 2 + 1e-6


def test_unsigned_ranges_use_both_ends() -> None:
    """ONNX, QuantizeLinear: q = x / scale + zero point, saturated to 0..255."""
    scale, zero = activation_scale(Range(-0.28, 5.0), "uint8")
    assert round(-0.28 / float(scale)) + zero == 0
    assert round(5.0 / float(scale)) + zero == 255
    assert activation_scale(Range(0.0, 5.0), "uint8")[1] == 0


def test_unsigned_activations_lose_less_than_signed_ones() -> None:
    network, sites, _, ranges = calibrated()

    def error(kind: Activation) -> float:
        quantized = write_qdq(network, sites, ranges, activation=kind)
        pairs = [(run(quantized, i, faithful=True)["output"], run(network.model, i)["output"]) for i in images(4)]
        return float(np.mean([np.abs(got - wanted).mean() for got, wanted in pairs]))

    assert error("uint8") < error("int8")


def test_shared_ranges_hold_every_member() -> None:
    _, sites, _, ranges = calibrated()
    shared = shared_ranges(sites, ranges)
    for group in sites.groups:
        assert len({shared[name] for name in group}) == 1
        assert all(shared[name].high >= ranges[name].high for name in group)


@pytest.mark.parametrize("opset", [17, 19, 20])
def test_both_dialects_give_the_same_numbers(opset: int) -> None:
    network, sites, _, ranges = calibrated()
    quantized = write_qdq(network, sites, ranges)
    other = to_opset(quantized, opset)
    assert opset_of(other) == opset
    image = images(1)[0]
    np.testing.assert_allclose(
        run(other, image, faithful=True)["output"], run(quantized, image, faithful=True)["output"], atol=1e-6
    )
