"""Operators that TensorRT's ONNX parser does not read, reads from some version on, or reads with some attributes only.

The table follows onnx-tensorrt's docs/operators.md of 8.2 to 11.0 and its importers; what is marked RTX was seen in the parser
and builder of TensorRT-RTX 1.7.1, which is that of TensorRT 11.
"""

from collections.abc import Callable, Iterator

import numpy as np
import onnx

from edgewright.calibration.network import attribute
from edgewright.pipeline.lint import Context, Finding
from edgewright.runtime.tensorrt.targets import NEWEST_KNOWN, Version

_DOCS = "onnx-tensorrt, docs/operators.md"
_RTX = "TensorRT-RTX 1.7.1, parser and builder"

NEVER = {
    "MaxUnpool": "replace it by a resize or a transposed convolution, or export it as masks (family plain_segmenter)",
    "MaxRoiPool": "use RoIAlign in its sampled form (--roi grid)",
    "QLinearConv": "write quantization as QuantizeLinear and DequantizeLinear pairs",
    "QLinearMatMul": "write quantization as QuantizeLinear and DequantizeLinear pairs",
    "ConvInteger": "write quantization as QuantizeLinear and DequantizeLinear pairs",
    "MatMulInteger": "write quantization as QuantizeLinear and DequantizeLinear pairs",
    "DynamicQuantizeLinear": "quantize with calibrated ranges (edgewright quantize)",
    **dict.fromkeys(
        (
            "Unique", "Compress", "Col2Im", "AffineGrid", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor",
            "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength",
            "SplitToSequence", "ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement", "Det", "Hardmax",
            "StringNormalizer", "TfIdfVectorizer", "Multinomial", "Bernoulli", "NegativeLogLikelihoodLoss",
        ),
        "export the network without it, or compute it on the host",
    ),
}  # fmt: skip
SINCE: dict[str, Version] = {
    "GridSample": (8, 5), "NonMaxSuppression": (8, 5), "NonZero": (8, 5), "OneHot": (8, 5), "RoiAlign": (8, 5),
    "LayerNormalization": (8, 6), "GroupNormalization": (8, 6), "Mish": (10, 0), "DeformConv": (10, 1), "HardSwish": (8, 6),
    "Swish": (11, 0), "CastLike": (8, 5), "ReverseSequence": (8, 5), "Trilu": (8, 6),
}  # fmt: skip
Special = Callable[[Context, onnx.NodeProto], Iterator[Finding]]

# They need a plugin of the full TensorRT, which the RTX edition does not have.
PLUGINS = {"RoiAlign": "ROIAlign", "NonZero": "NonZero", "DeformConv": "DeformConv"}
_RESIZE_MODES = (b"half_pixel", b"pytorch_half_pixel", b"asymmetric", b"align_corners", b"tf_half_pixel_for_nn")
_MOST_TOP_K = 3840
_DATA_DEPENDENT = ("NonZero", "NonMaxSuppression", "Unique", "Compress")


def check(context: Context) -> Iterator[Finding]:
    """One finding for each node that is not read as it stands, and one for a version that came after these rules."""
    if context.target.tensorrt[: len(NEWEST_KNOWN)] > NEWEST_KNOWN:
        newest = ".".join(map(str, NEWEST_KNOWN))
        yield Finding(
            "unknown-version", "warning", None,
            f"TensorRT {context.target.version} is newer than {newest}, up to which these rules are known to hold",
            "build the engine on the device, which tells", "this table of rules",
        )  # fmt: skip
    if context.opset > context.target.opset:
        yield Finding(
            "opset", "error", None,
            f"opset {context.opset} is newer than {context.target.opset}, the last that TensorRT {context.target.version} documents",
            f"export with opset {context.target.opset}, or lower it (edgewright quantize writes 17 and 19)", _DOCS,
        )  # fmt: skip
    for node in context.network.nodes:
        yield from _of_operator(context, node)
        special = _SPECIAL.get(node.op_type)
        if special is not None:
            yield from special(context, node)


def _of_operator(context: Context, node: onnx.NodeProto) -> Iterator[Finding]:
    name, version = node.op_type, context.target.tensorrt
    if node.domain not in ("", "ai.onnx"):
        yield _error(
            "domain",
            node,
            f"{node.domain}::{name} is an operator of another domain",
            "export with standard ONNX operators",
            _DOCS,
        )
    elif name in NEVER:
        yield _error("operator", node, f"{name} is read by no version", NEVER[name], _DOCS)
    elif name in SINCE and version < SINCE[name]:
        since = ".".join(str(part) for part in SINCE[name])
        yield _error(
            "operator-version",
            node,
            f"{name} is read from {since} on, the target has {context.target.version}",
            "update, or export without it",
            _DOCS,
        )
    if name in PLUGINS:
        yield Finding(
            "plugin", "note", node.name, f"{name} runs as the plugin {PLUGINS[name]}",
            "load the plugin library before parsing and before loading the engine; --roi grid avoids RoiAlign's", _DOCS,
        )  # fmt: skip
    if name in _DATA_DEPENDENT:
        yield Finding(
            "data-dependent", "warning", node.name, f"{name} gives as many rows as the data ask for",
            "such an engine needs an output allocator and captures no CUDA graph; export with static shapes", _DOCS,
        )  # fmt: skip


def _resize(context: Context, node: onnx.NodeProto) -> Iterator[Finding]:
    mode = attribute(node, "coordinate_transformation_mode", b"half_pixel")
    if mode not in _RESIZE_MODES:
        yield _error(
            "resize",
            node,
            f"Resize with {_text(mode)} is not read",
            "resize with half_pixel, asymmetric or align_corners",
            _RTX,
        )
    if attribute(node, "antialias", 0):
        yield _error(
            "resize",
            node,
            "Resize with antialias is not read",
            "turn antialiasing off in the network's interpolation",
            _RTX,
        )
    policy = attribute(node, "keep_aspect_ratio_policy", b"stretch")
    if policy != b"stretch":
        yield _error("resize", node, f"Resize with the policy {_text(policy)} is not read", "give both sides", _RTX)


def _max_pool(context: Context, node: onnx.NodeProto) -> Iterator[Finding]:
    if len(node.output) > 1 and node.output[1]:
        yield _error(
            "max-pool", node, "MaxPool with indices is not read", "unpool by masks (family plain_segmenter does)", _RTX
        )
    if any(step != 1 for step in _ints(node, "dilations")):
        yield _error("max-pool", node, "MaxPool with dilations is not read", "pool without dilation", _RTX)


def _top_k(context: Context, node: onnx.NodeProto) -> Iterator[Finding]:
    count = node.input[1]
    if not context.network.is_constant(count):
        if context.target.tensorrt < (8, 6):
            yield _error("top-k", node, "TopK with a computed K is read from 8.6 on", "export with a constant K", _DOCS)
        return
    k = int(np.asarray(context.network.constant(count)).reshape(-1)[0])
    if k > _MOST_TOP_K:
        yield _error(
            "top-k",
            node,
            f"TopK of {k} parses and does not build: {_MOST_TOP_K} is the limit",
            "export with fewer proposals (--proposals)",
            _RTX,
        )


def _scatter(context: Context, node: onnx.NodeProto) -> Iterator[Finding]:
    reduction = attribute(node, "reduction")
    if reduction is None:
        return
    if node.op_type == "ScatterND" and (reduction != b"none" or context.target.tensorrt <= (10, 8)):
        why = "is refused up to 10.8, even when it is 'none'" if reduction == b"none" else "is not read"
        yield _error(
            "scatter",
            node,
            f"ScatterND with the attribute reduction {why}",
            "remove the attribute",
            "onnx-tensorrt, importer source",
        )
    elif reduction != b"none" and context.target.tensorrt < (10, 0):
        yield _error(
            "scatter", node, "ScatterElements with a reduction is read from 10.0 on", "export without it", _DOCS
        )


def _einsum(context: Context, node: onnx.NodeProto) -> Iterator[Finding]:
    equation = attribute(node, "equation", b"")
    text = equation.decode() if isinstance(equation, bytes) else ""
    repeated = any(
        len(set(term)) < len(term.replace(".", "")) for term in text.split("->")[0].replace(" ", "").split(",")
    )
    if ("..." in text or repeated) and context.target.tensorrt < (10, 12):
        yield _error(
            "einsum",
            node,
            f"Einsum '{text}' (ellipsis or diagonal) is read from 10.12 on",
            "write it as MatMul and Transpose",
            _DOCS,
        )


def _axes(since: Version) -> Special:
    def check_axes(context: Context, node: onnx.NodeProto) -> Iterator[Finding]:
        place = {"Slice": 3, "Pad": 3}.get(node.op_type, 1)
        if (
            len(node.input) > place
            and node.input[place]
            and not context.network.is_constant(node.input[place])
            and context.target.tensorrt < since
        ):
            wanted = ".".join(str(part) for part in since)
            yield _error(
                "axes",
                node,
                f"{node.op_type} with computed axes is read from {wanted} on",
                "make the axes constant",
                _DOCS,
            )

    return check_axes


def _error(rule: str, node: onnx.NodeProto, message: str, remedy: str, source: str) -> Finding:
    return Finding(rule, "error", node.name, message, remedy, source)


def _ints(node: onnx.NodeProto, name: str) -> list[int]:
    values = attribute(node, name, [])
    return [int(value) for value in values] if isinstance(values, list) else []


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


_SPECIAL: dict[str, Special] = {
    "Resize": _resize, "MaxPool": _max_pool, "TopK": _top_k, "ScatterND": _scatter, "ScatterElements": _scatter, "Einsum": _einsum,
    "Slice": _axes((10, 3)), "Pad": _axes((10, 4)), "Squeeze": _axes((10, 7)), "Unsqueeze": _axes((10, 7)),
}  # fmt: skip
