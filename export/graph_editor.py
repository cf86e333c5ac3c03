"""Append a decoding tail to an ONNX graph, so that its outputs follow a head."""

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference, version_converter

from edgewright.runtime.bundle import file_sha256
from edgewright.runtime.errors import ExportError, first_line
from edgewright.runtime.spec import DType, TensorSpec

_DTYPES: dict[int, DType] = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.DOUBLE: "float64",
    TensorProto.UINT8: "uint8",
    TensorProto.INT8: "int8",
    TensorProto.INT32: "int32",
    TensorProto.INT64: "int64",
    TensorProto.BOOL: "bool",
}
# Below 11, Slice, Clip and Resize have other signatures.
_MIN_OPSET, _UPGRADED_OPSET = 11, 17
# Their output's size, or the path taken, depends on values: engines refuse them or plan memory anew for every frame.
DATA_DEPENDENT = frozenset(
    {"NonZero", "NonMaxSuppression", "If", "Loop", "Scan", "Unique", "Compress", "SequenceAt", "SequenceConstruct"}
)


def read_onnx(path: Path) -> onnx.ModelProto:
    """The checked model of an ONNX file, external data included, at opset 11 or later; ExportError when it is none."""
    if not path.is_file():
        raise ExportError(f"there is no file {path}; check the path")
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as err:  # protobuf, onnx and the file system each raise their own kinds
        raise ExportError(
            f"{path} is not a valid ONNX file ({first_line(err, limit=200)}); export it again from the training framework"
        ) from err
    return model if opset_of(model) >= _MIN_OPSET else _upgraded(model, path)


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the default operator set."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def _upgraded(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The same network at a newer opset."""
    try:
        newer = version_converter.convert_version(model, _UPGRADED_OPSET)
        for node in newer.graph.node:
            if node.op_type == "Resize":
                # What Upsample and the Resize of opset 10 meant; the converter leaves the later defaults.
                given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
                del node.attribute[:]
                old = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
                node.attribute.extend(helper.make_attribute(name, value) for name, value in {**given, **old}.items())
        onnx.checker.check_model(newer)
    except Exception as err:  # the converter and the checker each raise their own kinds
        raise ExportError(
            f"{path} uses opset {opset_of(model)}, at least {_MIN_OPSET} is wanted, and it cannot be converted; "
            "export it again with opset_version=17"
        ) from err
    return newer


def without_outputs(model: onnx.ModelProto, names: Collection[str]) -> onnx.ModelProto:
    """A copy without these outputs, and without what only they need; the model itself when there are no names."""
    if not names:
        return model
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    dropped = [value for value in copied.graph.output if value.name in names]
    for value in dropped:
        copied.graph.output.remove(value)
    drop_unused(copied.graph)
    made = {name for node in copied.graph.node for name in node.output}
    copied.graph.value_info.extend(value for value in dropped if value.name in made)
    return copied


class GraphEditor:
    """A model whose outputs are being replaced. Names of new nodes start with `edgewright/`."""

    def __init__(self, model: onnx.ModelProto, source: str) -> None:
        self.model = model
        self.source = source
        self._count = 0
        self._refresh()

    def _refresh(self) -> None:
        initializers = {tensor.name for tensor in self.model.graph.initializer}
        self.inputs = tuple(tensor_spec(v) for v in self.model.graph.input if v.name not in initializers)
        self.outputs = tuple(tensor_spec(v) for v in self.model.graph.output)

    def only_input(self) -> TensorSpec:
        """The single image input [1, C, H, W] or [1, H, W, C]; ExportError when the graph has another form."""
        if len(self.inputs) != 1 or len(self.inputs[0].shape) != 4:
            found = ", ".join(f"{t.name} {list(t.shape)}" for t in self.inputs)
            raise ExportError(f"{self.source}: one image input of 4 dimensions is wanted, the graph has: {found}")
        return self.inputs[0]

    def only_output(self, family: str, wanted: str) -> TensorSpec:
        """The single output; ExportError that names what the family wants."""
        if len(self.outputs) != 1:
            found = ", ".join(f"{t.name} {list(t.shape)}" for t in self.outputs)
            raise ExportError(f"{self.source}: family {family} wants one output {wanted}, the graph has: {found}")
        return self.outputs[0]

    def freeze_input(self, shape: tuple[int, ...]) -> None:
        """Give the input a static shape and infer all other shapes anew; ExportError when a fixed dimension differs."""
        tensor = self.only_input()
        for have, want in zip(tensor.shape, shape, strict=True):
            if isinstance(have, int) and have > 0 and have != want:
                raise ExportError(
                    f"{self.source}: input '{tensor.name}' is {list(tensor.shape)}, wanted {list(shape)}; "
                    "leave --size out, or export the network again at that size"
                )
        value = next(v for v in self.model.graph.input if v.name == tensor.name)
        for dim, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            dim.dim_value = size
        self._infer_shapes()

    def _infer_shapes(self) -> None:
        del self.model.graph.value_info[:]
        for value in self.model.graph.output:
            value.type.tensor_type.ClearField("shape")
        self.model = shape_inference.infer_shapes(self.model, data_prop=True)
        self._refresh()

    def producer(self, tensor: str) -> onnx.NodeProto | None:
        """The node that computes a tensor; None for inputs and constants."""
        return next((node for node in self.model.graph.node if tensor in node.output), None)

    def data_dependent(self, tensor: str) -> onnx.NodeProto | None:
        """The nearest node behind a tensor whose result changes its size or path with the picture; None without one."""
        producers: dict[str, onnx.NodeProto] = {name: node for node in self.model.graph.node for name in node.output}
        front, seen = [tensor], {tensor}
        while front:
            nodes = [producers[name] for name in front if name in producers]
            found = next((node for node in nodes if node.op_type in DATA_DEPENDENT), None)
            if found is not None:
                return found
            front = [name for name in dict.fromkeys(i for node in nodes for i in node.input) if name not in seen]
            seen.update(front)
        return None

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Append a node with one output; returns the output's name."""
        self._count += 1
        name = f"edgewright/{op}_{self._count}"
        self.model.graph.node.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, values: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        """Add an initializer; returns its name."""
        self._count += 1
        name = f"edgewright/const_{self._count}"
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def cut(self, tensor: str, start: int, stop: int, axis: int) -> str:
        """`tensor[start:stop]` along `axis`."""
        bounds = [self.constant([value], np.int64) for value in (start, stop, axis)]
        return self.add("Slice", tensor, *bounds)

    def as_float(self, tensor: TensorSpec) -> str:
        """The tensor as float32."""
        return tensor.name if tensor.dtype == "float32" else self.add("Cast", tensor.name, to=TensorProto.FLOAT)

    def set_outputs(self, outputs: dict[str, tuple[str, tuple[int, ...]]], *, integer: Collection[str] = ()) -> None:
        """Make these the graph's only outputs: public name → (tensor, static shape); unused nodes go away.

        They are float32, those named in `integer` int32.
        """
        graph = self.model.graph
        del graph.output[:]
        self._rename({name: tensor for name, (tensor, _) in outputs.items()})
        for name, (_, shape) in outputs.items():
            kind = TensorProto.INT32 if name in integer else TensorProto.FLOAT
            graph.output.append(helper.make_tensor_value_info(name, kind, shape))
        # Inferred shapes may belong to tensors that had these names before.
        del graph.value_info[:]
        drop_unused(graph)
        try:
            onnx.checker.check_model(self.model)
        except onnx.checker.ValidationError as err:
            reason = str(err).strip().splitlines()[0][:200]
            raise ExportError(
                f"{self.source}: its outputs cannot be replaced ({reason}); export the network again"
            ) from err
        self._refresh()

    def _rename(self, tensors: dict[str, str]) -> None:
        """Call tensors by these names everywhere; Identity nodes instead would give them two names in OpenVINO."""
        inputs = {value.name for value in self.model.graph.input}
        clashes = sorted(inputs.intersection(tensors))
        if clashes:
            raise ExportError(
                f"{self.source}: an input of the graph is called '{clashes[0]}', like an output of the head; rename it"
            )
        # First all of them out of the way: a new name may be the old one of another.
        for name, tensor in tensors.items():
            self._substitute(tensor, f"edgewright/becomes_{name}")
        for name in tensors:
            self._substitute(name, f"edgewright/was_{name}")
            self._substitute(f"edgewright/becomes_{name}", name)

    def _substitute(self, old: str, new: str) -> None:
        _substitute(self.model.graph, old, new)
        for tensor in self.model.graph.initializer:
            if tensor.name == old:
                tensor.name = new


def tensor_spec(value: onnx.ValueInfoProto) -> TensorSpec:
    """Name, shape and element type of a graph input or output."""
    kind = value.type.tensor_type
    if kind.elem_type not in _DTYPES:
        raise ExportError(f"'{value.name}' is not a tensor of a supported type (element type {kind.elem_type})")
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or -1) for dim in kind.shape.dim)
    return TensorSpec(name=value.name, shape=shape, dtype=_DTYPES[kind.elem_type])


def drop_unused(graph: onnx.GraphProto) -> None:
    """Drop the nodes and constants that no output needs."""
    needed, kept = {value.name for value in graph.output}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            needed.update(_captured(node))
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    initializers = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(initializers)


def _captured(node: onnx.NodeProto) -> set[str]:
    """Names that subgraphs (If, Loop) of a node may read from the outer graph."""
    names: set[str] = set()
    for attribute in node.attribute:
        for graph in [attribute.g, *attribute.graphs]:
            for inner in graph.node:
                names.update(inner.input)
                names.update(_captured(inner))
            names.update(value.name for value in graph.output)
    return names


def _substitute(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Call a tensor `new` in all nodes, and in the subgraphs (If, Loop) that read it and do not define it anew."""
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                defined = {value.name for value in [*inner.input, *inner.initializer]}
                if old not in defined and not any(old in n.output for n in inner.node):
                    _substitute(inner, old, new)
                    for value in inner.output:
                        if value.name == old:
                            value.name = new


def onnx_sha256(path: Path) -> str:
    """The digest of an ONNX file and of every file with external data that it names."""
    model = onnx.load(str(path), load_external_data=False)
    entries = (entry for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location")
    locations = sorted({entry.value for entry in entries})
    digest = file_sha256(path)
    if not locations:
        return digest
    parts = [digest, *(f"{name} {file_sha256(path.parent / name)}" for name in locations)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
