"""Element types: what TensorRT computes in, what it takes at the network's border, and what strong typing refuses."""

from collections.abc import Iterator

import numpy as np
from onnx import TensorProto

from edgewright.pipeline.lint import Context, Finding
from edgewright.runtime.tensorrt.targets import Version

_RTX = "TensorRT-RTX 1.7.1, parser and builder"
_DOCS = "onnx-tensorrt, docs/operators.md"
_HALF_MAX = 65504.0
_NAMES: dict[int, str] = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}
_ARITHMETIC = (
    "Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Concat", "Sum", "MatMul", "Gemm", "Conv", "ConvTranspose", "PRelu",
)  # fmt: skip
# Operators whose float inputs must be of one type, and which inputs these are (None: all).
_ALIKE: dict[str, tuple[int, ...] | None] = {
    **dict.fromkeys(_ARITHMETIC, None),
    "Where": (1, 2),
    "BatchNormalization": None,
    "InstanceNormalization": None,
    "LayerNormalization": None,
}  # fmt: skip
_NATIVE_INT64: Version = (9, 0)


def check(context: Context) -> Iterator[Finding]:
    """Types of inputs and outputs, of constants and, for strong typing, of the inputs of every node."""
    yield from _border(context)
    yield from _constants(context)
    if context.dialect == "strong":
        yield from _mixed(context)


def _border(context: Context) -> Iterator[Finding]:
    graph, network = context.network.model.graph, context.network
    for value in (*graph.input, *graph.output):
        kind = value.type.tensor_type
        if kind.elem_type == TensorProto.INT64:
            native = context.target.tensorrt >= _NATIVE_INT64
            binding = "and is bound with 64 bits" if native else "and is bound as int32"
            yield Finding(
                "int64",
                "note",
                value.name,
                f"it is int64 {binding}",
                "cast it to int32 in the graph: one buffer fits every version",
                _DOCS,
            )
        if kind.elem_type == TensorProto.DOUBLE:
            yield Finding(
                "double",
                "warning",
                value.name,
                "it is float64, which is computed as float32",
                "cast it in the graph",
                _DOCS,
            )
        if any(not dim.HasField("dim_value") for dim in kind.shape.dim):
            yield Finding(
                "dynamic", "warning", value.name, "its shape is not static",
                "export with static shapes; an open batch is given to the build (compile --batch N)", _DOCS,
            )  # fmt: skip
    for value in graph.input:
        if value.type.tensor_type.elem_type == TensorProto.UINT8:
            for reader in network.readers[value.name]:
                if reader.op_type != "Cast":
                    yield Finding(
                        "uint8-input",
                        "error",
                        reader.name,
                        f"the first node behind a uint8 input is {reader.op_type}",
                        "cast it first",
                        _RTX,
                    )


def _constants(context: Context) -> Iterator[Finding]:
    if context.precision == "fp32":
        return
    for tensor in context.network.model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            largest = float(np.abs(context.network.constant(tensor.name).astype(np.float64)).max(initial=0.0))
            if _HALF_MAX < largest < float("inf") and _is_weight(context, tensor.name):
                yield Finding(
                    "half-range", "warning", tensor.name, f"it holds {largest:.3g}, float16 ends at 65504",
                    "keep its node in float32 (edgewright quantize does, and lists it)", "IEEE 754",
                )  # fmt: skip


def _is_weight(context: Context, name: str) -> bool:
    return any(reader.op_type in _ALIKE for reader in context.network.readers[name])


def _mixed(context: Context) -> Iterator[Finding]:
    types = _types(context)
    for node in context.network.nodes:
        if node.op_type not in _ALIKE:
            continue
        places = _ALIKE[node.op_type]
        inputs = [name for place, name in enumerate(node.input) if name and (places is None or place in places)]
        kinds = {types[name] for name in inputs if types.get(name) in _NAMES}
        if len(kinds) > 1:
            named = " and ".join(sorted(_NAMES[kind] for kind in kinds))
            yield Finding(
                "mixed-types",
                "error",
                node.name,
                f"its inputs are {named}; strong typing wants one type",
                "cast one of them",
                _RTX,
            )


def _types(context: Context) -> dict[str, int]:
    graph = context.network.model.graph
    values = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.value_info, *graph.output)}
    types = {**values, **{tensor.name: tensor.data_type for tensor in graph.initializer}}
    for node in graph.node:
        # The parser gives a dequantized tensor the type of its scale.
        if node.op_type == "DequantizeLinear":
            types[node.output[0]] = types.get(node.input[1], TensorProto.UNDEFINED)
    return types
