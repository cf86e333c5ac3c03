"""Where a network is quantized: which layers, on which tensors, and which tensors must share one scale.

The policy is that of TensorRT's explicit quantization (NVIDIA, "Working with Quantized Types", and ModelOpt's ONNX
quantizer): inputs and weights of convolutions and matrix products, never their outputs and biases; of a residual addition
the skip input alone; nothing between a convolution and its activation; concatenated tensors share one scale.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import onnx

from edgewright.calibration.network import Network, attribute

_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# They move values without changing them, so that a quantizer behind them may as well stand before them.
_MOVES = (
    "Concat", "MaxPool", "Resize", "Reshape", "Transpose", "Slice", "Split", "Flatten", "Squeeze", "Unsqueeze", "Identity",
    "DepthToSpace", "SpaceToDepth",
)  # fmt: skip
# Below it an INT8 kernel costs more than it saves, and TensorRT has none for many shapes (ModelOpt, the same limit).
_FEWEST_CHANNELS = 16


@dataclass(frozen=True)
class Layer:
    """One quantized node: its activation tensor, its weights (None for a product of two activations) and their axis of
    output channels."""

    node: str
    kind: str
    activation: str
    weight: str
    axis: int


@dataclass(frozen=True)
class Skip:
    """The skip input of the residual addition `node`."""

    node: str
    tensor: str


@dataclass(frozen=True)
class Sites:
    """All places that are quantized; `groups` are the sets of tensors that share a scale; `kept` says of every other
    layer why it stays float."""

    layers: tuple[Layer, ...]
    skips: tuple[Skip, ...]
    groups: tuple[frozenset[str], ...]
    kept: dict[str, str]

    @property
    def tensors(self) -> tuple[str, ...]:
        """The activation tensors that get a scale, in the order of the graph."""
        names = (*(layer.activation for layer in self.layers), *(skip.tensor for skip in self.skips))
        return tuple(dict.fromkeys(names))


def choose_sites(
    network: Network, *, float_layers: Collection[str] = (), keep_heads: bool = True, depthwise: bool = True
) -> Sites:
    """The places to quantize; `float_layers` are names of nodes that stay float, `keep_heads` the last layers before the
    outputs, which hold boxes and scores of very different size."""
    heads = last_layers(network) if keep_heads else frozenset()
    layers, kept = [], {}
    for node in network.nodes:
        if node.op_type not in _LAYERS:
            continue
        reason = _reason_to_keep(network, node, float_layers, heads, depthwise=depthwise)
        if reason is None:
            layers.append(_layer(network, node))
        else:
            kept[node.name] = reason
    skips = tuple(_skips(network, {layer.node for layer in layers}, float_layers))
    tensors = {layer.activation for layer in layers} | {skip.tensor for skip in skips}
    return Sites(tuple(layers), skips, _groups(network, tensors), kept)


def last_layers(network: Network) -> frozenset[str]:
    """The names of the last layers on every way to an output."""
    found, seen, waiting = set(), set(), list(network.outputs)
    while waiting:
        tensor = waiting.pop()
        node = network.producer.get(tensor)
        if node is None or tensor in seen:
            continue
        seen.add(tensor)
        if node.op_type in _LAYERS and _has_weights(network, node) and not _reads_probabilities(network, node):
            found.add(node.name)
        else:
            waiting.extend(node.input)
    return frozenset(found)


def _reason_to_keep(
    network: Network, node: onnx.NodeProto, float_layers: Collection[str], heads: frozenset[str], *, depthwise: bool
) -> str | None:
    if node.name in float_layers:
        return "asked to stay float"
    if not _has_weights(network, node):
        return "its weights are computed"
    if node.name in heads:
        return "the last layer before an output"
    group = attribute(node, "group", 1)
    if group != 1 and not depthwise:
        return "depthwise"
    if _reads_probabilities(network, node):
        return "it reads probabilities"
    if _is_narrow(network, node):
        return f"fewer than {_FEWEST_CHANNELS} channels"
    if not network.is_float(node.input[0]):
        return "its input is no float"
    return None


def _has_weights(network: Network, node: onnx.NodeProto) -> bool:
    """Whether a node multiplies an activation with constant weights."""
    if len(node.input) < 2 or network.is_constant(node.input[0]) or not network.is_constant(node.input[1]):
        return False
    plain_gemm = node.op_type != "Gemm" or not attribute(node, "transA", 0)
    return plain_gemm and network.is_float(node.input[1]) and len(network.shape(node.input[1]) or ()) >= 2


def _reads_probabilities(network: Network, node: onnx.NodeProto) -> bool:
    """Whether a layer is an expectation over a softmax (of box sides), which belongs to the decoding behind a head."""
    maker = network.producer.get(node.input[0])
    while maker is not None and maker.op_type in _MOVES:
        maker = network.producer.get(maker.input[0])
    return maker is not None and maker.op_type == "Softmax"


def _channels(network: Network, node: onnx.NodeProto) -> tuple[int, int]:
    """Input and output channels of a layer."""
    shape = network.shape(node.input[1]) or (0, 0)
    group = int(str(attribute(node, "group", 1)))
    if node.op_type == "Conv":
        return shape[1] * group, shape[0]
    if node.op_type == "ConvTranspose":
        return shape[0], shape[1] * group
    transposed = node.op_type == "Gemm" and bool(attribute(node, "transB", 0))
    return (shape[-1], shape[-2]) if transposed else (shape[-2], shape[-1])


def _is_narrow(network: Network, node: onnx.NodeProto) -> bool:
    """Too few channels on a side; the first layer has a picture's few channels and is large enough to pay."""
    inputs, outputs = _channels(network, node)
    first = _reads_picture(network, node.input[0])
    return outputs < _FEWEST_CHANNELS or (inputs < _FEWEST_CHANNELS and not first)


def _reads_picture(network: Network, tensor: str) -> bool:
    """Whether a tensor is an input, or one whose pixels were only exchanged and scaled on the way."""
    while tensor not in network.inputs:
        maker = network.producer.get(tensor)
        if maker is None or maker.op_type not in ("Cast", "Transpose", "Gather", "Mul", "Add"):
            return False
        computed = [name for name in maker.input if not network.is_constant(name)]
        if len(computed) != 1:
            return False
        tensor = computed[0]
    return True


def _layer(network: Network, node: onnx.NodeProto) -> Layer:
    dimensions = len(network.shape(node.input[1]) or ())
    transposed = node.op_type == "Gemm" and bool(attribute(node, "transB", 0))
    axis = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0 if transposed else 1}.get(node.op_type, dimensions - 1)
    return Layer(node.name, node.op_type, node.input[0], node.input[1], axis)


def _skips(network: Network, quantized: set[str], float_layers: Collection[str]) -> Iterator[Skip]:
    for node in network.nodes:
        if node.op_type != "Add" or node.name in float_layers or any(network.is_constant(name) for name in node.input):
            continue
        if node.input[0] == node.input[1] or network.shape(node.input[0]) != network.shape(node.input[1]):
            continue
        # The branch is the longer way; its convolution, the addition and the activation become one kernel.
        skip, branch = sorted(node.input, key=lambda name: network.depth.get(name, 0))
        maker = network.producer.get(branch)
        if maker is not None and maker.name in quantized and len(network.readers[branch]) == 1:
            yield Skip(node.name, skip)


def _groups(network: Network, tensors: set[str]) -> tuple[frozenset[str], ...]:
    """Tensors that are joined by operators which only move values: a scale of their own would cost a conversion each."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for node in network.nodes:
        if node.op_type not in _MOVES or not _only_moves(node):
            continue
        data = list(node.input) if node.op_type == "Concat" else list(node.input[:1])
        first = data[0]
        for name in (*data[1:], *node.output):
            parent[root(name)] = root(first)
    members: dict[str, set[str]] = {}
    for name in tensors:
        members.setdefault(root(name), set()).add(name)
    return tuple(frozenset(group) for group in members.values() if len(group) > 1)


def _only_moves(node: onnx.NodeProto) -> bool:
    return node.op_type != "Resize" or attribute(node, "mode", b"nearest") == b"nearest"
