"""Write quantization into a graph as explicit QuantizeLinear and DequantizeLinear pairs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from edgewright.calibration.network import Network, copied, infer_shapes
from edgewright.calibration.sites import Sites

Activation = Literal["int8", "uint8"]
# The smallest normal number of float16: a smaller scale becomes zero in a network of half precision.
SMALLEST_SCALE = 2.0**-14


@dataclass(frozen=True)
class Range:
    """The real values that the integers of a tensor stand for: from `low` to `high`, with `low <= 0 <= high`."""

    low: float
    high: float

    @property
    def largest(self) -> float:
        return max(-self.low, self.high)


def shared_ranges(sites: Sites, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """The ranges of all tensors of `sites`, those of a group widened to hold each other."""
    shared = {name: ranges[name] for name in sites.tensors}
    for group in sites.groups:
        widest = Range(min(ranges[name].low for name in group), max(ranges[name].high for name in group))
        shared.update(dict.fromkeys(group, widest))
    return shared


def write_qdq(
    network: Network,
    sites: Sites,
    ranges: Mapping[str, Range],
    *,
    activation: Activation = "int8",
    weight_bits: int = 8,
) -> onnx.ModelProto:
    """The network with one pair on every tensor of `sites` and int8 weights behind DequantizeLinear.

    "int8" is symmetric with zero point 0, as TensorRT wants it; "uint8" has the zero point that the range asks for, as
    OpenVINO computes best. Weights are symmetric for each output channel, of 7 bits where the target adds up products in 16
    bits (x86 without VNNI). Scales are float32, and stay positive in float16.
    """
    model = copied(network.model)
    writer = _Writer(model.graph)
    pairs = {
        name: writer.activation_pair(name, shared, activation) for name, shared in shared_ranges(sites, ranges).items()
    }
    nodes = {node.name: node for node in model.graph.node}
    for layer in sites.layers:
        node = nodes[layer.node]
        _redirect(node, layer.activation, pairs[layer.activation])
        node.input[1] = writer.weight(network, layer.weight, layer.axis, weight_bits)
    for skip in sites.skips:
        _redirect(nodes[skip.node], skip.tensor, pairs[skip.tensor])
    writer.insert(network)
    return infer_shapes(model)


def weight_scales(weight: npt.NDArray[np.floating[Any]], axis: int, bits: int) -> npt.NDArray[np.float32]:
    """One symmetric scale for each channel along `axis`; a channel of zeros gets the smallest."""
    others = tuple(dimension for dimension in range(weight.ndim) if dimension != axis)
    largest = np.abs(weight.astype(np.float64)).max(axis=others)
    return np.asarray(np.maximum(largest / (2 ** (bits - 1) - 1), SMALLEST_SCALE), np.float32)


def quantized_weight(
    weight: npt.NDArray[np.floating[Any]], scales: npt.NDArray[np.float32], axis: int, bits: int
) -> npt.NDArray[np.int8]:
    """The weight in steps of its channel's scale, without the one negative value that has no positive partner."""
    limit = 2 ** (bits - 1) - 1
    shape = [1] * weight.ndim
    shape[axis] = -1
    return np.asarray(np.clip(np.rint(weight / scales.reshape(shape)), -limit, limit), np.int8)


def activation_scale(shared: Range, activation: Activation) -> tuple[np.float32, int]:
    """Scale and zero point of a range."""
    if activation == "int8":
        return np.float32(max(shared.largest / 127, SMALLEST_SCALE)), 0
    scale = max((shared.high - shared.low) / 255, SMALLEST_SCALE)
    return np.float32(scale), int(np.clip(np.rint(-shared.low / scale), 0, 255))


class _Writer:
    """Collects new nodes and initializers; one pair for every tensor, one DequantizeLinear for every weight."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self._pairs: dict[str, list[onnx.NodeProto]] = {}
        self._weights: list[onnx.NodeProto] = []
        self._done: dict[tuple[str, int], str] = {}

    def activation_pair(self, tensor: str, shared: Range, activation: Activation) -> str:
        """The name of the tensor after its pair."""
        scale, zero = activation_scale(shared, activation)
        names = [
            self._constant(f"{tensor}/scale", scale),
            self._constant(f"{tensor}/zero", np.dtype(activation).type(zero)),
        ]
        quantized, back = f"{tensor}/quantized", f"{tensor}/dequantized"
        self._pairs[tensor] = [
            helper.make_node("QuantizeLinear", [tensor, *names], [quantized], name=f"{tensor}/QuantizeLinear"),
            helper.make_node("DequantizeLinear", [quantized, *names], [back], name=f"{tensor}/DequantizeLinear"),
        ]
        return back

    def weight(self, network: Network, name: str, axis: int, bits: int) -> str:
        """The name of the weight after its DequantizeLinear."""
        if (name, axis) not in self._done:
            values = network.constant(name).astype(np.float32)
            scales = weight_scales(values, axis, bits)
            prefix = f"{name}/axis{axis}"
            inputs = [
                self._constant(f"{prefix}/quantized", quantized_weight(values, scales, axis, bits)),
                self._constant(f"{prefix}/scale", scales),
                self._constant(f"{prefix}/zero", np.zeros(len(scales), np.int8)),
            ]
            back = f"{prefix}/dequantized"
            self._weights.append(
                helper.make_node("DequantizeLinear", inputs, [back], name=f"{prefix}/DequantizeLinear", axis=axis)
            )
            self._done[name, axis] = back
        return self._done[name, axis]

    def insert(self, network: Network) -> None:
        """Put the new nodes where their inputs are known, and drop the float weights that nobody reads any more."""
        nodes = [*self._weights]
        for tensor in network.inputs:
            nodes.extend(self._pairs.get(tensor, []))
        for node in self.graph.node:
            nodes.append(node)
            for name in node.output:
                nodes.extend(self._pairs.get(name, []))
        ordered = [copied(node) for node in nodes]
        del self.graph.node[:]
        self.graph.node.extend(ordered)
        read = {name for node in self.graph.node for name in node.input} | network.outputs
        kept = [tensor for tensor in self.graph.initializer if tensor.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)

    def _constant(self, name: str, values: npt.ArrayLike) -> str:
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return name


def _redirect(node: onnx.NodeProto, old: str, new: str) -> None:
    for index, name in enumerate(node.input):
        if name == old:
            node.input[index] = new
            return


def ranges_of(thresholds: Mapping[str, float], extremes: Callable[[str], tuple[float, float]]) -> dict[str, Range]:
    """Clipping thresholds as ranges: what was never seen on one side of zero is not spent on it."""
    ranges = {}
    for name, limit in thresholds.items():
        low, high = extremes(name)
        ranges[name] = Range(max(min(low, 0.0), -limit), min(max(high, 0.0), limit) or limit)
    return ranges
