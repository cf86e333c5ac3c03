"""Quantized graphs as OpenVINO computes them correctly: unsigned activations.

OpenVINO's CPU plugin miscomputes signed int8 activations around Concat, by tens of percent and without a word (seen in
2024.6 to 2026.4; `tests/export/test_unsigned.py` tells when that ends). The same numbers as uint8 with zero point
128 come out right.
"""

import numpy as np
import onnx
from onnx import numpy_helper

from edgewright.runtime.errors import ExportError


def with_unsigned_activations(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every int8 activation is uint8 with its zero point moved by 128: bit for bit the same real values."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    quantized = {node.output[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    for node in graph.node:
        is_activation = node.op_type == "QuantizeLinear" or (
            node.op_type == "DequantizeLinear" and node.input[0] in quantized
        )
        if is_activation and node.input[0] not in constants:
            _shift(graph, node, constants)
    del graph.value_info[:]
    return copy


def is_quantized(model: onnx.ModelProto) -> bool:
    """Whether the graph holds quantizers."""
    return any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node)


def is_signed(model: onnx.ModelProto) -> bool:
    """Whether any activation is quantized to int8."""
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    return any(
        node.op_type == "QuantizeLinear" and (len(node.input) > 2 and types.get(node.input[2]) == onnx.TensorProto.INT8)
        for node in model.graph.node
        if node.input[0] not in types
    )


def _shift(graph: onnx.GraphProto, node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> None:
    if len(node.input) < 3 or not node.input[2]:
        return  # without a zero point the type is uint8
    name = node.input[2]
    if name not in constants:
        raise ExportError(f"node '{node.name}' computes its zero point; fold the constants of the graph first")
    zero = numpy_helper.to_array(constants[name])
    if zero.dtype != np.int8:
        return
    shifted = f"{name}/unsigned"
    if shifted not in constants:
        values = (zero.astype(np.int16) + 128).astype(np.uint8)
        graph.initializer.append(numpy_helper.from_array(values, shifted))
        constants[shifted] = graph.initializer[-1]
    node.input[2] = shifted
