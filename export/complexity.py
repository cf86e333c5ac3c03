"""How large a network is: parameters and arithmetic."""

import math

import onnx
from onnx import numpy_helper, shape_inference

from edgewright.runtime.bundle import Complexity

_MIN_PARAMETER_RANK = 1


def complexity(model: onnx.ModelProto) -> Complexity:
    """Parameters, and GFLOPs of one inference counted as 2 FLOPs a multiply-add of convolutions and matrix products.

    Activations, normalisation and resizing are left out, as the papers' figures leave them out. `gflops` is None when a
    shape that it depends on is not static.
    """
    inferred = shape_inference.infer_shapes(model, data_prop=True)
    shapes = _shapes(inferred.graph)
    flops = [_node_flops(node, shapes) for node in inferred.graph.node]
    known = [value for value in flops if value is not None]
    return Complexity(
        parameters=_parameters(model.graph),
        gflops=sum(known) / 1e9 if len(known) == len(flops) else None,
    )


def _parameters(graph: onnx.GraphProto) -> int:
    """Elements of all floating-point and quantized weights; shapes and axes (int64) are no parameters."""
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.INT8)
    stored: int = sum(
        math.prod(t.dims) for t in graph.initializer if t.data_type in kinds and len(t.dims) >= _MIN_PARAMETER_RANK
    )
    constants = (a.t for node in graph.node if node.op_type == "Constant" for a in node.attribute if a.name == "value")
    return stored + sum(int(math.prod(t.dims)) for t in constants if t.data_type in kinds and len(t.dims) >= 2)


def _shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...] | None]:
    shapes: dict[str, tuple[int, ...] | None] = {t.name: tuple(t.dims) for t in graph.initializer}
    for value in [*graph.input, *graph.output, *graph.value_info]:
        dims = value.type.tensor_type.shape.dim
        static = all(dim.HasField("dim_value") for dim in dims)
        shapes.setdefault(value.name, tuple(dim.dim_value for dim in dims) if static else None)
    for node in graph.node:
        if node.op_type == "Constant":
            shapes[node.output[0]] = next(
                (tuple(numpy_helper.to_array(a.t).shape) for a in node.attribute if a.name == "value"), None
            )
    return shapes


def _node_flops(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...] | None]) -> int | None:
    """FLOPs of one node: 0 for all but products, None when its shapes are unknown."""
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return 0
    first, second = shapes.get(node.input[0]), shapes.get(node.input[1])
    output = shapes.get(node.output[0])
    if not first or not second or output is None:
        return None
    if node.op_type == "Conv":
        return 2 * math.prod(output) * math.prod(second[1:])
    if node.op_type == "ConvTranspose":
        return 2 * math.prod(first) * math.prod(second[1:])
    if node.op_type == "Gemm":
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        return 2 * math.prod(output) * first[0 if transposed else 1]
    return 2 * math.prod(output) * first[-1]
