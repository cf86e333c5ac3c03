"""An ONNX graph as quantization sees it: constants folded, every node named, who makes and who reads each tensor."""

from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper, shape_inference, version_converter

from edgewright.runtime.errors import CalibrationError

Array = npt.NDArray[np.generic]
Message = TypeVar("Message", onnx.ModelProto, onnx.NodeProto, onnx.TensorProto)

# Scales for each channel came with 13; what is older becomes 17, which every engine of the last years reads.
_MIN_OPSET, _RAISED_OPSET = 13, 17


class Network:
    """A model that is read, and never changed, through its index; shapes are static."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        return list(self.model.graph.node)

    @cached_property
    def outputs(self) -> frozenset[str]:
        return frozenset(value.name for value in self.model.graph.output)

    @cached_property
    def inputs(self) -> frozenset[str]:
        return frozenset(value.name for value in self.model.graph.input) - frozenset(self._initializers)

    @cached_property
    def producer(self) -> dict[str, onnx.NodeProto]:
        return {name: node for node in self.model.graph.node for name in node.output if name}

    @cached_property
    def readers(self) -> dict[str, list[onnx.NodeProto]]:
        readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.model.graph.node:
            for name in dict.fromkeys(node.input):
                readers[name].append(node)
        return readers

    @cached_property
    def _initializers(self) -> dict[str, onnx.TensorProto]:
        return {tensor.name: tensor for tensor in self.model.graph.initializer}

    def is_constant(self, name: str) -> bool:
        return name in self._initializers

    def constant(self, name: str) -> Array:
        """The values of an initializer."""
        return np.asarray(numpy_helper.to_array(self._initializers[name]))

    @cached_property
    def _types(self) -> dict[str, onnx.TypeProto.Tensor]:
        graph = self.model.graph
        values = (*graph.input, *graph.value_info, *graph.output)
        return {value.name: value.type.tensor_type for value in values}

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The static shape of a tensor, None where it is not known."""
        if name in self._initializers:
            return tuple(self._initializers[name].dims)
        kind = self._types.get(name)
        if kind is None or not kind.HasField("shape"):
            return None
        sizes = tuple(dim.dim_value for dim in kind.shape.dim)
        return sizes if all(dim.HasField("dim_value") for dim in kind.shape.dim) else None

    def is_float(self, name: str) -> bool:
        """Whether a tensor holds float32 (or is of unknown type, which float tensors of odd operators are)."""
        if name in self._initializers:
            return self._initializers[name].data_type == onnx.TensorProto.FLOAT
        kind = self._types.get(name)
        return kind is None or kind.elem_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.UNDEFINED)

    @cached_property
    def depth(self) -> dict[str, int]:
        """The longest path, in nodes, from the inputs to each tensor."""
        depth: dict[str, int] = {}
        for node in self.model.graph.node:
            level = 1 + max((depth.get(name, 0) for name in node.input), default=0)
            depth.update(dict.fromkeys(node.output, level))
        return depth


def copied(message: Message) -> Message:
    """A copy of a model or node: what is changed is never the caller's."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the default operator set."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def prepared(model: onnx.ModelProto) -> Network:
    """A copy of the model, of opset 13 or later, with constants as initializers, batch norm folded, nodes named and shapes
    inferred. CalibrationError when it is quantized already.
    """
    copy = copied(model)
    if opset_of(copy) < _MIN_OPSET:
        copy = version_converter.convert_version(copy, _RAISED_OPSET)
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in copy.graph.node):
        raise CalibrationError(
            "the network is quantized already: it holds QuantizeLinear nodes; quantize its float version, or import it as it is"
        )
    constants_to_initializers(copy.graph)
    _fold_batch_norm(copy.graph)
    _drop_unread_initializers(copy.graph)
    name_nodes(copy.graph)
    return Network(infer_shapes(copy))


def infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the shape of every tensor that can be inferred, whatever was noted before."""
    del model.graph.value_info[:]
    return shape_inference.infer_shapes(model, data_prop=True)


def name_nodes(graph: onnx.GraphProto) -> None:
    """Give every node a name of its own: the one it has, or its operator and number."""
    taken: set[str] = set()
    for number, node in enumerate(graph.node):
        wanted = node.name or f"{node.op_type}_{number}"
        node.name = wanted if wanted not in taken else f"{wanted}_{number}"
        taken.add(node.name)


def attribute(node: onnx.NodeProto, name: str, default: object = None) -> object:
    """The value of a node's attribute."""
    found = next((entry for entry in node.attribute if entry.name == name), None)
    return default if found is None else helper.get_attribute_value(found)


def constants_to_initializers(graph: onnx.GraphProto) -> None:
    """Make initializers of the Constant nodes, which mean the same."""
    kept = []
    for node in graph.node:
        value = attribute(node, "value")
        if node.op_type == "Constant" and isinstance(value, onnx.TensorProto):
            tensor = copied(value)
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def _fold_batch_norm(graph: onnx.GraphProto) -> None:
    """Put each BatchNormalization that alone reads a convolution into its weights."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producer = {name: node for node in graph.node for name in node.output}
    readers: dict[str, int] = defaultdict(int)
    for name in _read_names(graph):
        readers[name] += 1
    folded = []
    for norm in graph.node:
        convolution = producer.get(norm.input[0]) if norm.op_type == "BatchNormalization" else None
        if convolution is None or not _foldable(convolution, norm, values, readers):
            continue
        _fold(graph, convolution, norm, values)
        folded.append(norm)
    for norm in folded:
        graph.node.remove(norm)


def _read_names(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield from node.input
    yield from (value.name for value in graph.output)


def _foldable(
    convolution: onnx.NodeProto, norm: onnx.NodeProto, values: dict[str, Array], readers: dict[str, int]
) -> bool:
    group = attribute(convolution, "group", 1)
    return (
        convolution.op_type in ("Conv", "ConvTranspose")
        and (convolution.op_type == "Conv" or group == 1)
        and readers[convolution.output[0]] == 1
        and all(name in values for name in (*convolution.input[1:], *norm.input[1:]) if name)
    )


def _fold(graph: onnx.GraphProto, convolution: onnx.NodeProto, norm: onnx.NodeProto, values: dict[str, Array]) -> None:
    gamma, beta, mean, variance = (values[name].astype(np.float64) for name in norm.input[1:5])
    epsilon = attribute(norm, "epsilon", 1e-5)
    factor = gamma / np.sqrt(variance + float(str(epsilon)))
    weight = values[convolution.input[1]].astype(np.float64)
    per_channel = [1] * weight.ndim
    per_channel[0 if convolution.op_type == "Conv" else 1] = -1
    has_bias = len(convolution.input) > 2 and convolution.input[2]
    bias = values[convolution.input[2]].astype(np.float64) if has_bias else np.zeros_like(beta)
    # New names: the weights may be shared with a convolution that no batch norm follows.
    names = [f"{norm.output[0]}/weight", f"{norm.output[0]}/bias"]
    tensors = (weight * factor.reshape(per_channel), beta + (bias - mean) * factor)
    for name, tensor in zip(names, tensors, strict=True):
        values[name] = tensor.astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(values[name], name))
    inputs = [convolution.input[0], *names]
    del convolution.input[:]
    convolution.input.extend(inputs)
    convolution.output[0] = norm.output[0]


def _drop_unread_initializers(graph: onnx.GraphProto) -> None:
    read = set(_read_names(graph))
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    listed = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in listed]
    del graph.initializer[:], graph.input[:]
    graph.initializer.extend(kept)
    graph.input.extend(inputs)
