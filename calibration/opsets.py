"""The same network at another version of the ONNX operator set: engines of a device read up to the one of their time."""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper, numpy_helper, version_converter

from edgewright.calibration.network import Network, attribute, copied, infer_shapes, opset_of
from edgewright.runtime.errors import CalibrationError, first_line

# The releases between 17 and 20 changed the signatures of these operators; for all others a lower number is enough.
_LOWEST = 17


def to_opset(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """The network at `version`; lower ones than its own down to 17, from 20 at most. CalibrationError when it cannot be."""
    have = opset_of(model)
    if have == version:
        return model
    try:
        changed = _raised(model, version) if have < version else _lowered(model, have, version)
        onnx.checker.check_model(changed)
    except CalibrationError:
        raise
    except Exception as err:  # the converter and the checker each raise their own kinds
        raise CalibrationError(
            f"the network of opset {have} cannot be written in opset {version} ({first_line(err, limit=200)}); export it with "
            f"opset {version}"
        ) from err
    return changed


def for_old_parsers(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network with products in the place of HardSwish and Trilu, which TensorRT reads from 8.6 on alone."""
    copy = infer_shapes(copied(model))
    network = Network(copy)
    nodes: list[onnx.NodeProto] = []
    for node in copy.graph.node:
        product = _PRODUCTS.get(node.op_type)
        nodes.extend([node] if product is None else product(network, node))
    replaced = [copied(node) for node in nodes]
    del copy.graph.node[:]
    copy.graph.node.extend(replaced)
    return infer_shapes(copy)


def _hard_swish(_: Network, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    x, y = node.input[0], node.output[0]
    gate = f"{y}/gate"
    return [
        helper.make_node("HardSigmoid", [x], [gate], name=gate, alpha=1 / 6, beta=0.5),
        helper.make_node("Mul", [x, gate], [y], name=node.name),
    ]


def _trilu(network: Network, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """A product with ones on the kept side; the node as it is where its size or side is not known, or it holds no floats."""
    x, sizes = node.input[0], network.shape(node.input[0])
    side = node.input[1] if len(node.input) > 1 else ""
    if sizes is None or not network.is_float(x) or (side and not network.is_constant(side)):
        return [node]
    first = int(network.constant(side).reshape(-1)[0]) if side else 0
    ones = np.ones(sizes[-2:], np.float32)
    kept = np.triu(ones, first) if attribute(node, "upper", 1) else np.tril(ones, first)
    name = f"{node.output[0]}/kept"
    network.model.graph.initializer.append(numpy_helper.from_array(kept, name))
    return [helper.make_node("Mul", [x, name], list(node.output), name=node.name)]


_PRODUCTS: dict[str, Callable[[Network, onnx.NodeProto], list[onnx.NodeProto]]] = {
    "HardSwish": _hard_swish,
    "Trilu": _trilu,
}


def _raised(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    newer = version_converter.convert_version(model, version)
    newer.ir_version = max(model.ir_version, helper.find_min_ir_version_for([helper.make_opsetid("", version)]))
    return infer_shapes(newer)


def _lowered(model: onnx.ModelProto, have: int, version: int) -> onnx.ModelProto:
    if version < _LOWEST or have > 20:
        raise CalibrationError(f"opset {have} cannot be lowered to {version}; export the network with opset 17 to 20")
    copy = infer_shapes(copied(model))
    network = Network(copy)
    nodes: list[onnx.NodeProto] = []
    for node in copy.graph.node:
        lower = _LOWER.get(node.op_type)
        nodes.extend([node] if lower is None else lower(network, node, version))
    replaced = [copied(node) for node in nodes]
    del copy.graph.node[:]
    copy.graph.node.extend(replaced)
    for entry in copy.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = version
    copy.ir_version = min(copy.ir_version, helper.find_min_ir_version_for([helper.make_opsetid("", version)]))
    return infer_shapes(copy)


Lower = Callable[[Network, onnx.NodeProto, int], list[onnx.NodeProto]]


def _reduce(network: Network, node: onnx.NodeProto, version: int) -> list[onnx.NodeProto]:
    """Axes are an input from 18 on."""
    if version >= 18 or len(node.input) < 2 or not node.input[1]:
        return [node]
    _axes_to_attribute(network, node)
    _drop(node, "noop_with_empty_axes")
    return [node]


def _axes_to_attribute(network: Network, node: onnx.NodeProto) -> None:
    if not network.is_constant(node.input[1]):
        raise CalibrationError(
            f"node '{node.name}' computes its axes, which opset 17 does not know; make them constant"
        )
    axes = network.constant(node.input[1]).astype(np.int64).tolist()
    first = node.input[0]
    del node.input[:]
    node.input.append(first)
    node.attribute.append(helper.make_attribute("axes", axes))


def _split(network: Network, node: onnx.NodeProto, version: int) -> list[onnx.NodeProto]:
    """The number of equal parts is an attribute from 18 on; before, it follows from the outputs."""
    if version >= 18 or attribute(node, "num_outputs") is None:
        return [node]
    _drop(node, "num_outputs")
    sizes = network.shape(node.input[0])
    axis = int(str(attribute(node, "axis", 0)))
    if sizes is None or sizes[axis] % len(node.output):
        raise CalibrationError(f"node '{node.name}' splits into unequal parts, which opset 17 does not know")
    return [node]


def _resize(_: Network, node: onnx.NodeProto, version: int) -> list[onnx.NodeProto]:
    """Antialiasing, axes and the policy of the aspect ratio came with 18, half_pixel_symmetric with 19."""
    if version >= 19:
        return [node]
    newer = {
        "antialias": 0,
        "keep_aspect_ratio_policy": b"stretch",
        "axes": None,
    }
    for name, plain in newer.items():
        if attribute(node, name, plain) != plain:
            raise CalibrationError(f"node '{node.name}' resizes with {name}, which opset {version} does not know")
        _drop(node, name)
    if attribute(node, "coordinate_transformation_mode") == b"half_pixel_symmetric":
        raise CalibrationError(f"node '{node.name}' resizes half_pixel_symmetric, which opset {version} does not know")
    return [node]


def _pad(_: Network, node: onnx.NodeProto, version: int) -> list[onnx.NodeProto]:
    """Axes came with 18, wrapping with 19."""
    if version >= 18:
        return [node]
    if len(node.input) > 3 and node.input[3]:
        raise CalibrationError(f"node '{node.name}' pads chosen axes, which opset 17 does not know")
    if attribute(node, "mode") == b"wrap":
        raise CalibrationError(f"node '{node.name}' pads by wrapping, which opset 17 does not know")
    return [node]


def _grid_sample(_: Network, node: onnx.NodeProto, version: int) -> list[onnx.NodeProto]:
    """20 renamed the modes."""
    if version < 20:
        mode = attribute(node, "mode", b"linear")
        _drop(node, "mode")
        older = {b"linear": "bilinear", b"cubic": "bicubic", b"nearest": "nearest"}
        node.attribute.append(helper.make_attribute("mode", next(new for old, new in older.items() if old == mode)))
    return [node]


def _average_pool(_: Network, node: onnx.NodeProto, version: int) -> list[onnx.NodeProto]:
    """Dilations came with 19."""
    if version < 19:
        dilations = attribute(node, "dilations", [])
        if isinstance(dilations, list) and any(step != 1 for step in dilations):
            raise CalibrationError(f"node '{node.name}' pools with dilations, which opset {version} does not know")
        _drop(node, "dilations")
    return [node]


def _gelu(network: Network, node: onnx.NodeProto, version: int) -> list[onnx.NodeProto]:
    """Gelu is an operator from 20 on: x / 2 * (1 + erf(x / sqrt(2)))."""
    if version >= 20:
        return [node]
    if attribute(node, "approximate", b"none") != b"none":
        raise CalibrationError(f"node '{node.name}' is an approximated Gelu, which opset {version} does not know")
    x, y = node.input[0], node.output[0]
    names = [f"{y}/scaled", f"{y}/erf", f"{y}/shifted", f"{y}/product"]
    root, one, half = (
        _scalar(network, f"{y}/{name}", value) for name, value in (("root", 2**-0.5), ("one", 1.0), ("half", 0.5))
    )
    return [
        helper.make_node("Mul", [x, root], [names[0]], name=names[0]),
        helper.make_node("Erf", [names[0]], [names[1]], name=names[1]),
        helper.make_node("Add", [names[1], one], [names[2]], name=names[2]),
        helper.make_node("Mul", [x, names[2]], [names[3]], name=names[3]),
        helper.make_node("Mul", [names[3], half], [y], name=node.name),
    ]


def _scalar(network: Network, name: str, value: float) -> str:
    network.model.graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
    return name


def _without(*names: str) -> Lower:
    """Attributes that came later and, at their default, say what was always done."""

    def lower(_: Network, node: onnx.NodeProto, __: int) -> list[onnx.NodeProto]:
        for name in names:
            _drop(node, name)
        return [node]

    return lower


def _drop(node: onnx.NodeProto, name: str) -> None:
    kept = [entry for entry in node.attribute if entry.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)


_REDUCTIONS = (
    "ReduceMax", "ReduceMin", "ReduceMean", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
    "ReduceSumSquare",
)  # fmt: skip
_LOWER: dict[str, Lower] = {
    **dict.fromkeys(_REDUCTIONS, _reduce),
    "Split": _split,
    "Resize": _resize,
    "Pad": _pad,
    "GridSample": _grid_sample,
    "Gelu": _gelu,
    "Cast": _without("saturate"),
    "QuantizeLinear": _without("saturate"),
    "AveragePool": _average_pool,
}
