"""A bundle whose graph takes frames as they are, uint8 and BGR: order, scale and mean are nodes of it, not work of the host."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgewright.export.bundling import MODEL, Origin, read_image, write_bundle
from edgewright.runtime.atomic import atomic_folder
from edgewright.runtime.bundle import Bundle, load_bundle
from edgewright.runtime.errors import ExportError, UsageError
from edgewright.runtime.spec import ModelSpec, PreprocessSpec


def with_frame_input(bundle: Bundle, output: Path, *, replace: bool = False) -> Bundle:
    """The bundle in folder `output` that finds what `bundle` finds and is fed with uint8 pixels, H x W x 3 (grey: 1).

    UsageError for a network that cannot be fed so; ExportError when its outputs for the golden image are not those of `bundle`.
    """
    _check(bundle)
    with tempfile.TemporaryDirectory() as temporary:
        made = _written(bundle, Path(temporary) / "bundle")
        _compare(bundle, made)
        with atomic_folder(output, replace=replace) as folder:
            shutil.copytree(made.path, folder, dirs_exist_ok=True)
    return load_bundle(output)


def frame_spec(spec: ModelSpec) -> ModelSpec:
    """What the manifest says of it: the first input is the picture as the pre-processing has put it on its canvas."""
    old = spec.preprocess
    plain: dict[str, Any] = {
        "color": "gray" if old.color == "gray" else "bgr", "scale": 1.0, "mean": (0.0,) * old.channels,
        "std": (1.0,) * old.channels, "layout": "nhwc", "dtype": "uint8",
    }  # fmt: skip
    preprocess = PreprocessSpec.model_validate({**old.model_dump(), **plain})
    image = spec.inputs[0].model_copy(update={"shape": preprocess.tensor_shape, "dtype": "uint8"})
    return spec.model_copy(update={"preprocess": preprocess, "inputs": (image, *spec.inputs[1:])})


def with_frame_nodes(model: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """The network behind Cast, Transpose, the exchange of channels, and one product and sum: (pixel * scale - mean) / std.

    The Cast comes first: TensorRT takes uint8 as an input and computes nothing else in it.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph, old = changed.graph, spec.preprocess
    place, image = next((i, value) for i, value in enumerate(graph.input) if value.name == spec.inputs[0].name)
    inner = f"{image.name}/float"
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == image.name:
                node.input[index] = inner
    nodes = _nodes(graph, old, image.name, inner)
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])
    shape = frame_spec(spec).preprocess.tensor_shape
    graph.input[place].CopyFrom(helper.make_tensor_value_info(image.name, TensorProto.UINT8, shape))
    onnx.checker.check_model(changed)
    return changed


def _nodes(graph: onnx.GraphProto, old: PreprocessSpec, image: str, inner: str) -> list[onnx.NodeProto]:
    shape = (1, old.channels, 1, 1) if old.layout == "nchw" else (1, 1, 1, old.channels)
    factor = np.array([old.scale / std for std in old.std], np.float32).reshape(shape)
    shift = np.array([-mean / std for mean, std in zip(old.mean, old.std, strict=True)], np.float32).reshape(shape)
    steps: list[tuple[str, list[npt.NDArray[Any]], dict[str, Any]]] = [("Cast", [], {"to": TensorProto.FLOAT})]
    if old.layout == "nchw":
        steps.append(("Transpose", [], {"perm": [0, 3, 1, 2]}))
    if old.color == "rgb":
        steps.append(("Gather", [np.array([2, 1, 0], np.int64)], {"axis": 1 if old.layout == "nchw" else 3}))
    if (factor != 1).any():
        steps.append(("Mul", [factor], {}))
    if (shift != 0).any():
        steps.append(("Add", [shift], {}))
    if old.dtype == "float16":
        steps.append(("Cast", [], {"to": TensorProto.FLOAT16}))
    nodes, tensor = [], image
    for number, (kind, constants, attributes) in enumerate(steps):
        name = inner if number == len(steps) - 1 else f"{inner}/{number}"
        names = [f"{inner}/{kind}/constant" for _ in constants]
        graph.initializer.extend(numpy_helper.from_array(v, n) for v, n in zip(constants, names, strict=True))
        nodes.append(helper.make_node(kind, [tensor, *names], [name], name=f"{inner}/{kind}_{number}", **attributes))
        tensor = name
    return nodes


def _check(bundle: Bundle) -> None:
    spec = bundle.spec
    if spec.preprocess.dtype == "uint8":
        raise UsageError(f"{spec.name} takes uint8 already; leave --uint8-input out")
    if spec.graphs or spec.tiling is not None:
        kind = "of several graphs" if spec.graphs else "that is run on tiles"
        raise UsageError(f"{spec.name} is a network {kind}, which is fed with floats; leave --uint8-input out")


def _written(bundle: Bundle, folder: Path) -> Bundle:
    model = with_frame_nodes(onnx.load(str(bundle.file(MODEL))), bundle.spec)
    made, golden = bundle.manifest.provenance, bundle.manifest.golden
    return write_bundle(
        folder,
        model.SerializeToString(),
        frame_spec(bundle.spec),
        Origin(made.source, made.source_sha256, made.family, made.exporter, made.opset or 0),
        complexity=bundle.manifest.complexity,
        image=None if golden is None else read_image(bundle.file(golden.image)),
        parity=bundle.manifest.parity,
    )


def _compare(bundle: Bundle, made: Bundle) -> None:
    first, second = bundle.manifest.golden, made.manifest.golden
    if first is None or second is None:
        return
    with np.load(bundle.file(first.tensors)) as wanted, np.load(made.file(second.tensors)) as got:
        for name in (name for name in wanted.files if name.startswith("output:")):
            allowed = first.tolerance.absolute + first.tolerance.relative * np.abs(wanted[name])
            if got[name].shape != wanted[name].shape or (np.abs(got[name] - wanted[name]) > allowed).any():
                raise ExportError(
                    f"{name.removeprefix('output:')} of {bundle.spec.name} is another with its pre-processing in the graph; leave "
                    "--uint8-input out, and report this"
                )
