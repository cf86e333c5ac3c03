"""Explicit quantization as TensorRT wants it; several of these are accepted by the parser and computed wrongly or slowly.

NVIDIA, TensorRT developer guide, "Working with Quantized Types"; ModelOpt's ONNX quantizer; the parser of TensorRT-RTX 1.7.1.
"""

from collections.abc import Iterator

import numpy as np
import onnx

from edgewright.calibration.network import attribute
from edgewright.pipeline.lint import Context, Finding

_GUIDE = "NVIDIA, TensorRT developer guide, explicit quantization"
_RTX = "TensorRT-RTX 1.7.1, parser and builder"
_SMALLEST_HALF = 2.0**-14
_CHANNEL_AXIS = {"Conv": 0, "ConvTranspose": 1}
_ACTIVATIONS = ("Relu", "Clip", "LeakyRelu", "HardSwish", "Sigmoid", "PRelu", "Elu", "HardSigmoid")


def check(context: Context) -> Iterator[Finding]:
    """Zero points, types, scales and places of every QuantizeLinear and DequantizeLinear."""
    for node in context.network.nodes:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            yield from _zero_point(context, node)
            yield from _scale(context, node)
        if node.op_type == "QuantizeLinear":
            yield from _place(context, node)
        if node.op_type == "DequantizeLinear":
            yield from _weight(context, node)


def _zero_point(context: Context, node: onnx.NodeProto) -> Iterator[Finding]:
    network = context.network
    if network.is_constant(node.input[0]) and network.constant(node.input[0]).dtype == np.int32:
        yield _error(
            "int32",
            node,
            "a bias is quantized to int32, which the parser refuses",
            "keep biases float (QuantizeBias=False)",
            _RTX,
        )
        return
    if len(node.input) < 3 or not node.input[2]:
        return
    zero = network.constant(node.input[2]) if network.is_constant(node.input[2]) else None
    if zero is None:
        yield _error("zero-point", node, "its zero point is computed", "fold the constants of the graph", _GUIDE)
    elif zero.dtype == np.uint8:
        yield _error(
            "uint8",
            node,
            "its integers are unsigned: the parser takes them for int8, with a warning or none",
            "quantize symmetrically to int8 (--target tensorrt)",
            _RTX,
        )
    elif np.asarray(zero).astype(np.int64).any():
        yield _error(
            "zero-point",
            node,
            f"its zero point is {np.asarray(zero).reshape(-1)[0]}, 0 is wanted",
            "quantize symmetrically (--target tensorrt)",
            _GUIDE,
        )
    elif zero.dtype == np.int16:
        yield _error("int16", node, "its integers have 16 bits, which no kernel computes", "quantize to int8", _RTX)


def _scale(context: Context, node: onnx.NodeProto) -> Iterator[Finding]:
    network = context.network
    if not network.is_constant(node.input[1]):
        yield _error("scale", node, "its scale is computed", "fold the constants of the graph", _GUIDE)
        return
    values = np.asarray(network.constant(node.input[1])).astype(np.float64)
    if not np.isfinite(values).all() or (values <= 0).any():
        yield _error(
            "scale",
            node,
            f"a scale is {values.min():.3g}, scales are positive",
            "calibrate again; dead channels get the smallest scale",
            _RTX,
        )
    elif context.precision != "fp32" and (values < _SMALLEST_HALF).any():
        yield _error(
            "scale-half",
            node,
            f"a scale of {values.min():.3g} becomes 0 in float16",
            f"raise it to {_SMALLEST_HALF:.3g}",
            _GUIDE,
        )
    if values.size > 1 and not network.is_constant(node.input[0]) and not _quantizes_weight(context, node):
        yield _error(
            "per-channel",
            node,
            "an activation has a scale for each channel, which the parser takes and no kernel has",
            "one scale for an activation",
            _GUIDE,
        )


def _quantizes_weight(context: Context, node: onnx.NodeProto) -> bool:
    maker = context.network.producer.get(node.input[0])
    return maker is not None and maker.op_type == "QuantizeLinear" and context.network.is_constant(maker.input[0])


def _weight(context: Context, node: onnx.NodeProto) -> Iterator[Finding]:
    network = context.network
    scale = np.asarray(network.constant(node.input[1])) if network.is_constant(node.input[1]) else np.zeros(1)
    if scale.size < 2:
        return
    axis = attribute(node, "axis")
    if axis is None:
        yield _error(
            "axis",
            node,
            "it has no axis: ONNX means 1 and the parser 0",
            "write the axis",
            "onnx-tensorrt, importer source",
        )
        return
    for reader in network.readers[node.output[0]]:
        wanted = _axis_of(reader, node.output[0])
        if wanted is not None and axis != wanted:
            yield _error(
                "axis",
                node,
                f"its scales run along axis {axis}, the output channels of {reader.op_type} along {wanted}",
                "quantize weights per output channel",
                _GUIDE,
            )


def _axis_of(reader: onnx.NodeProto, weight: str) -> int | None:
    if len(reader.input) < 2 or reader.input[1] != weight:
        return None
    if reader.op_type == "Gemm":
        return 0 if attribute(reader, "transB", 0) else 1
    return _CHANNEL_AXIS.get(reader.op_type)


def _place(context: Context, node: onnx.NodeProto) -> Iterator[Finding]:
    """Between a convolution and its activation, or in front of an output, a pair costs speed or accuracy."""
    network = context.network
    maker = network.producer.get(node.input[0])
    if maker is None:
        return
    others = [reader for reader in network.readers[node.input[0]] if reader is not node]
    after = [r for pair in network.readers[node.output[0]] for r in network.readers[pair.output[0]]]
    if maker.op_type in ("Conv", "ConvTranspose") and not others and any(r.op_type in _ACTIVATIONS for r in after):
        yield Finding(
            "quantization-fusion", "warning", node.name, f"it parts {maker.name} from its activation, which then are not one kernel",
            "quantize behind the activation", _GUIDE,
        )  # fmt: skip
    if any(output in network.outputs for pair in network.readers[node.output[0]] for output in pair.output):
        yield Finding(
            "quantization-output", "warning", node.name, "an output of the network is quantized: boxes of 640 pixels then have steps of 5",
            "leave outputs float", "measured: docs/quantization.md",
        )  # fmt: skip


def _error(rule: str, node: onnx.NodeProto, message: str, remedy: str, source: str) -> Finding:
    return Finding(f"quantization-{rule}", "error", node.name, message, remedy, source)
