"""A graph for one image becomes one for any number of them: its batch is opened, and what holds a 1 for it follows."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper, shape_inference

from edgewright.export.graph_editor import drop_unused
from edgewright.runtime.errors import ExportError
from edgewright.runtime.spec import BATCH

Shape = tuple[int | None, ...]
Array = npt.NDArray[Any]
# A batch that no dimension has by chance, so that shapes tell where the batch is.
_PROBE = 7919
# Constants of fewer elements may be shapes.
_LARGE = 1024
_OF_ONE_IMAGE = ("RoiAlign", "NonMaxSuppression")


def with_open_batch(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """The network with the first dimension `batch` in inputs and outputs; ExportError where it is made for one image.

    Whether the rows of a batch are what each image gives alone, only running it shows.
    """
    for node in model.graph.node:
        if node.op_type in _OF_ONE_IMAGE:
            raise ExportError(f"{where}: {node.name} ({node.op_type}) takes the regions of one image")
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    del opened.graph.value_info[:]
    shapes = _shapes(_skeleton(opened), 1)
    for value in _inputs(opened.graph):
        if shapes[value.name][:1] != (1,):
            raise ExportError(
                f"{where}: input '{value.name}' has the shape {list(shapes[value.name])}, not a batch of 1"
            )
    _Opening(opened, shapes, where).run()
    for value in (*_inputs(opened.graph), *opened.graph.output):
        value.type.tensor_type.shape.dim[0].Clear()
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    # The constants that held the batch.
    drop_unused(opened.graph)
    onnx.checker.check_model(opened)
    return opened


class _Opening:
    """The change of one model, node by node in their order; `one` are its shapes with a batch of 1."""

    def __init__(self, model: onnx.ModelProto, one: Mapping[str, Shape], where: str) -> None:
        self._graphs = (model.graph, (probe := _skeleton(model)).graph)
        self._probe = probe
        self._one = one
        self._where = where
        self._constants = dict(_constants(model.graph))
        self._added = 0

    def run(self) -> None:
        many = _shapes(self._probe, _PROBE)
        for index, node in enumerate(self._graphs[0].node):
            if self._change(index, node, many):
                # What comes behind it has other shapes now.
                many = _shapes(self._probe, _PROBE)
        for value in self._graphs[0].output:
            if many[value.name][:1] not in ((_PROBE,), (None,)):
                raise ExportError(f"{self._where}: the output '{value.name}' does not follow the batch")

    def _change(self, index: int, node: onnx.NodeProto, many: Mapping[str, Shape]) -> bool:
        """Whether the node held the batch in a constant, and was changed."""
        constant = {"Reshape": 1, "Resize": 3}.get(node.op_type)
        if constant is None or len(node.input) <= constant or node.input[constant] not in self._constants:
            return False
        before = many.get(node.input[0], (None,))
        axis = _batch_axis(self._one.get(node.input[0], (None,)), before)
        if axis is None and None not in before:
            return False
        if node.op_type == "Reshape":
            self._replace(index, 1, self._open_shape(node, axis))
        else:
            self._replace(index, 2, self._scales(node))
            for graph in self._graphs:
                del graph.node[index].input[3:]
        return True

    def _open_shape(self, node: onnx.NodeProto, axis: int | None) -> Array:
        """The shape with the batch left open, at the dimension that has as much before it as the batch has in the input."""
        before, after = (self._one.get(name, (None,)) for name in (node.input[0], node.output[0]))
        if axis is None or None in after:
            # Inference cannot tell: a 1 in front is the batch, and 0 takes it over from the input.
            shape = self._constants[node.input[1]].copy()
            shape[:1] = np.where(shape[:1] == 1, 0, shape[:1])
            return shape
        ahead = _product(before[:axis])
        places = [place for place in range(len(after)) if _product(after[:place]) == ahead]
        if not places:
            raise ExportError(f"{self._where}: {node.name} (Reshape) mixes the batch with what lies before it")
        place = next((place for place in places if after[place] == 1), places[0])
        return np.array([-1 if i == place else size for i, size in enumerate(after)], np.int64)

    def _scales(self, node: onnx.NodeProto) -> Array:
        """The factors of a Resize whose sizes hold the batch."""
        before, after = (self._one.get(name, (None,)) for name in (node.input[0], node.output[0]))
        if None not in before and None not in after:
            sizes, wanted = np.array(before, np.float32), np.array(after, np.float32)
            scales = np.asarray(wanted / sizes, np.float32)
            if np.array_equal(np.floor(sizes * scales), wanted):
                return scales
        raise ExportError(f"{self._where}: {node.name} (Resize) makes a size that no factor gives")

    def _replace(self, index: int, place: int, value: Array) -> None:
        self._added += 1
        tensor = numpy_helper.from_array(value, f"edgewright/batch_{self._added}")
        for graph in self._graphs:
            graph.initializer.append(tensor)
            graph.node[index].input[place] = tensor.name


def _batch_axis(one: Shape, many: Shape) -> int | None:
    """Where the batch is in a tensor, by its shapes with one image and with `_PROBE` of them; None: nowhere, or not known."""
    if len(one) != len(many) or None in one or None in many:
        return None
    return next((axis for axis, sizes in enumerate(zip(one, many, strict=True)) if sizes[0] != sizes[1]), None)


def _skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without its weights, of which shapes depend on nothing but their own."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    for tensor in bare.graph.initializer:
        if math.prod(tensor.dims) > _LARGE:
            for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data"):
                tensor.ClearField(field)
    for value in bare.graph.output:
        value.type.tensor_type.ClearField("shape")
    return bare


def _shapes(skeleton: onnx.ModelProto, batch: int) -> dict[str, Shape]:
    """The shape of every tensor whose rank is known when so many images come, None for a dimension that is not."""
    for value in _inputs(skeleton.graph):
        first = value.type.tensor_type.shape.dim[0]
        if batch != 1 or first.dim_value == _PROBE:
            first.dim_value = batch
    graph = shape_inference.infer_shapes(skeleton, data_prop=True).graph
    return {
        value.name: tuple(d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.output, *graph.value_info)
    }


def _inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    constants = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in constants]


def _constants(graph: onnx.GraphProto) -> Iterator[tuple[str, Array]]:
    """The small constants, which may be shapes."""
    stored = ((tensor.name, tensor) for tensor in graph.initializer)
    made = (
        (node.output[0], a.t)
        for node in graph.node
        if node.op_type == "Constant"
        for a in node.attribute
        if a.name == "value"
    )
    for name, tensor in (*stored, *made):
        if math.prod(tensor.dims) <= _LARGE and tensor.data_location != onnx.TensorProto.EXTERNAL:
            yield name, numpy_helper.to_array(tensor)


def _product(sizes: Sequence[int | None]) -> int:
    return math.prod(size for size in sizes if size is not None)
