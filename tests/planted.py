"""Bundles with one mistake planted in them, made from good ones."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgewright.runtime.bundle import Bundle, describe_file, load_bundle, seal
from edgewright.runtime.spec import ModelSpec

Edit = Callable[[onnx.ModelProto], None]


def planted(
    bundle: Bundle, folder: Path, *, edit: Edit | None = None, **changes: Mapping[str, Any] | Sequence[str]
) -> Bundle:
    """A copy of the bundle with changes in parts of its spec (`preprocess={"color": "rgb"}`) and in its FP32 graph."""
    shutil.copytree(bundle.path, folder)
    entry = bundle.model_file(backend="ort", precision="fp32")
    if edit is not None:
        model = onnx.load(str(folder / entry.name))
        edit(model)
        onnx.save(model, str(folder / entry.name))
    content = bundle.spec.model_dump()
    for part, values in changes.items():
        content[part] = {**content[part], **values} if isinstance(values, Mapping) else tuple(values)
    files = [
        describe_file(folder, f.name, f.role, graph=f.graph, precision=f.precision, target=f.target)
        for f in bundle.files
    ]
    spec = ModelSpec.model_validate(content)
    seal(folder, bundle.manifest.model_copy(update={"spec": spec, "files": tuple(files), "golden": None}))
    return load_bundle(folder)


def without_class(number: int, *, output: str) -> Edit:
    """The scores [1, N, C] of one class become zero."""

    def edit(model: onnx.ModelProto) -> None:
        classes = _last_size(model, output)
        alive = np.ones(classes, np.float32)
        alive[number] = 0
        _after(model, output, [numpy_helper.from_array(alive, "planted/alive")], "Mul", "planted/alive")

    return edit


def moved_classes(order: Sequence[int], *, output: str) -> Edit:
    """Column i of the scores [1, N, C] becomes what column order[i] was."""

    def edit(model: onnx.ModelProto) -> None:
        table = numpy_helper.from_array(np.array(order, np.int64), "planted/order")
        _after(model, output, [table], "Gather", "planted/order", axis=2)

    return edit


def coarse_head(bits: int, *, layers: Callable[[str], bool]) -> Edit:
    """The weights of the convolutions that `layers` chooses by the name of their weights, rounded to one scale for all
    channels, as a careless INT8 conversion of a head does (per tensor, and `bits` - 8 bits worse)."""

    def edit(model: onnx.ModelProto) -> None:
        used = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
        chosen = [tensor for tensor in model.graph.initializer if tensor.name in used and layers(tensor.name)]
        assert chosen
        for tensor in chosen:
            values = numpy_helper.to_array(tensor)
            step = float(np.abs(values).max()) / (2 ** (bits - 1) - 1)
            tensor.CopyFrom(numpy_helper.from_array((np.round(values / step) * step).astype(values.dtype), tensor.name))

    return edit


def _after(
    model: onnx.ModelProto, output: str, initializers: list[onnx.TensorProto], kind: str, other: str, **attributes: Any
) -> None:
    """Put one more node between what gives `output` and the output."""
    before = f"planted/{output}"
    for node in model.graph.node:
        node.output[:] = [before if name == output else name for name in node.output]
        node.input[:] = [before if name == output else name for name in node.input]
    model.graph.initializer.extend(initializers)
    model.graph.node.append(helper.make_node(kind, [before, other], [output], **attributes))


def _last_size(model: onnx.ModelProto, output: str) -> int:
    value = next(v for v in model.graph.output if v.name == output)
    return int(value.type.tensor_type.shape.dim[-1].dim_value)


def wasted_memory(mib: int, *, output: str) -> Edit:
    """So much memory is filled and given back before the output is ready."""

    def edit(model: onnx.ModelProto) -> None:
        image = model.graph.input[0].name
        shape = numpy_helper.from_array(np.array([mib * 2**18], np.int64), "planted/shape")
        # Of the picture, so that it is not computed when the graph is loaded.
        model.graph.initializer.extend([shape, numpy_helper.from_array(np.array(0, np.float32), "planted/nought")])
        steps: tuple[tuple[str, list[str], str, dict[str, Any]], ...] = (
            ("ReduceMean", [image], "planted/mean", {"keepdims": 0}),
            ("Expand", ["planted/mean", "planted/shape"], "planted/large", {}),
            ("ReduceMax", ["planted/large"], "planted/most", {"keepdims": 0}),
            ("Mul", ["planted/most", "planted/nought"], "planted/nothing", {}),
        )
        nodes = [helper.make_node(kind, inputs, [result], **options) for kind, inputs, result, options in steps]
        for place, node in enumerate(nodes):
            model.graph.node.insert(place, node)
        _after(model, output, [], "Add", "planted/nothing")

    return edit


def int8_outputs(largest: float, *, outputs: Sequence[str]) -> Edit:
    """The outputs as INT8 of one scale up to `largest`, as a converter makes them of a tensor that holds boxes and scores."""

    def edit(model: onnx.ModelProto) -> None:
        scale = numpy_helper.from_array(np.array(largest / 127, np.float32), "planted/scale")
        zero = numpy_helper.from_array(np.array(0, np.int8), "planted/zero")
        model.graph.initializer.extend([scale, zero])
        for output in outputs:
            _after(model, output, [], "DequantizeLinear", "planted/scale")
            rounded = model.graph.node[-1]
            whole = [rounded.input[0], "planted/scale", "planted/zero"]
            rounded.input[:] = [f"planted/int8/{output}", "planted/scale", "planted/zero"]
            model.graph.node.insert(
                len(model.graph.node) - 1, helper.make_node("QuantizeLinear", whole, [rounded.input[0]])
            )

    return edit
