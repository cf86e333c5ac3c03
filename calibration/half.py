"""A network in half precision, except where values would overflow and where boxes are decoded."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgewright.calibration.network import Network, copied, infer_shapes
from edgewright.calibration.sites import last_layers

# Half of what float16 holds: images of the field may exceed those of the calibration.
LARGEST = 65504.0 / 2
# They take or give float32 whatever their neighbours compute in, or are known to lose by half precision.
_ALWAYS_FLOAT = (
    "Cast", "ConstantOfShape", "NonMaxSuppression", "NonZero", "OneHot", "RandomNormal", "RandomUniform", "Range", "Shape", "Size",
    "If", "Loop", "Scan", "EyeLike", "Multinomial", "Bernoulli",
)  # fmt: skip
# Inputs that stay float32 in a node of half precision (Resize: region of interest and scales).
_FLOAT_INPUTS = {"Resize": (1, 2), "Upsample": (1,)}


@dataclass(frozen=True)
class HalfNetwork:
    """The model, whose inputs and outputs are float32 as before, and the nodes that stay float32 with the reason."""

    model: onnx.ModelProto
    kept: dict[str, str]


def to_half(
    network: Network, largest: Mapping[str, float], *, float_nodes: Collection[str] = (), decode: bool = False
) -> HalfNetwork:
    """The network in float16; `largest` is the largest magnitude of each tensor over calibration images.

    Nodes that touch a larger value than 32752, nodes named in `float_nodes` and, unless `decode`, everything behind the last
    layers stay float32: at 640 pixels a float16 has steps of half a pixel.
    """
    kept = dict(_kept(network, largest, float_nodes, frozenset() if decode else decoding(network)))
    model = copied(network.model)
    _Caster(network, model.graph, frozenset(kept)).cast()
    return HalfNetwork(infer_shapes(model), kept)


def decoding(network: Network) -> frozenset[str]:
    """The names of the nodes behind the last layers: from there on no layer follows."""
    ends = last_layers(network)
    behind, waiting = set(), list(network.outputs)
    while waiting:
        node = network.producer.get(waiting.pop())
        if node is not None and node.name not in ends and node.name not in behind:
            behind.add(node.name)
            waiting.extend(node.input)
    return frozenset(behind)


def _kept(
    network: Network, largest: Mapping[str, float], float_nodes: Collection[str], tail: frozenset[str]
) -> Sequence[tuple[str, str]]:
    reasons = []
    for node in network.nodes:
        names = [name for name in (*node.input, *node.output) if name]
        too_large = next((name for name in names if _magnitude(network, largest, name) > LARGEST), None)
        if node.op_type in _ALWAYS_FLOAT:
            reasons.append((node.name, f"{node.op_type} is not cast"))
        elif node.name in float_nodes:
            reasons.append((node.name, "asked to stay float"))
        elif too_large is not None:
            value = _magnitude(network, largest, too_large)
            reasons.append((node.name, f"'{too_large}' reaches {value:.3g}, float16 ends at 65504"))
        elif node.name in tail:
            reasons.append((node.name, "decoding"))
    return reasons


def _magnitude(network: Network, largest: Mapping[str, float], name: str) -> float:
    if network.is_constant(name) and network.is_float(name):
        values = network.constant(name)
        return float(np.abs(values).max(initial=0.0)) if np.isfinite(values).all() else 0.0
    return largest.get(name, 0.0)


class _Caster:
    """Gives every node the precision it wants, with one Cast for each tensor and direction."""

    def __init__(self, network: Network, graph: onnx.GraphProto, kept: frozenset[str]) -> None:
        self.network, self.graph, self.kept = network, graph, kept
        self.half = {
            name
            for node in graph.node
            if node.name not in kept
            for name in node.output
            if name and network.is_float(name)
        }
        self._casts: dict[tuple[str, bool], onnx.NodeProto] = {}

    def cast(self) -> None:
        outputs = [value.name for value in self.graph.output]
        renamed = {name: f"{name}/half" for name in outputs if name in self.half}
        nodes: list[onnx.NodeProto] = []
        for node in self.graph.node:
            wants_half = node.name not in self.kept
            for index, name in enumerate(node.input):
                keep = index in _FLOAT_INPUTS.get(node.op_type, ())
                if name and self.network.is_float(name) and not (keep and wants_half):
                    node.input[index] = self._as(name, wants_half, nodes)
            nodes.append(node)
        for name, half in renamed.items():
            _rename(nodes, name, half)
            nodes.append(helper.make_node("Cast", [half], [name], name=f"{name}/to_float", to=TensorProto.FLOAT))
        copies = [copied(node) for node in nodes]
        del self.graph.node[:]
        self.graph.node.extend(copies)
        self._drop_unread()

    def _as(self, name: str, half: bool, nodes: list[onnx.NodeProto]) -> str:
        """The tensor in the wanted precision; a Cast is added to `nodes` where it is the first that wants it."""
        if self.network.is_constant(name):
            return self._constant(name) if half else name
        if (name in self.half) == half:
            return name
        target = f"{name}/{'half' if half else 'float'}"
        if (name, half) not in self._casts:
            kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
            self._casts[name, half] = helper.make_node("Cast", [name], [target], name=f"{target}/Cast", to=kind)
            nodes.append(self._casts[name, half])
        return target

    def _constant(self, name: str) -> str:
        target = f"{name}/half"
        if all(tensor.name != target for tensor in self.graph.initializer):
            values = self.network.constant(name).astype(np.float32)
            limit = float(np.finfo(np.float16).max)
            # Infinity, where a mask uses it, stays infinity.
            finite = np.where(np.isfinite(values), np.clip(values, -limit, limit), values)
            self.graph.initializer.append(numpy_helper.from_array(finite.astype(np.float16), target))
        return target

    def _drop_unread(self) -> None:
        read = {name for node in self.graph.node for name in node.input} | {v.name for v in self.graph.output}
        tensors = [tensor for tensor in self.graph.initializer if tensor.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(tensors)


def _rename(nodes: Sequence[onnx.NodeProto], old: str, new: str) -> None:
    for node in nodes:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
