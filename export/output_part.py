"""A graph output, or a part of it in the notation of NumPy: `output0[:, 4:84]`."""

import re
from dataclasses import dataclass, replace

import numpy as np

from edgewright.export.graph_editor import GraphEditor
from edgewright.export.request import Layout
from edgewright.runtime.errors import ExportError, UsageError
from edgewright.runtime.plugins import suggestion
from edgewright.runtime.spec import TensorSpec

_FAR = 2**31 - 1


@dataclass(frozen=True)
class Part:
    """A tensor of the graph with its shape, -1 where it is not known; `text` is how the recipe calls it."""

    name: str
    shape: tuple[int, ...]
    text: str
    is_integer: bool


def output_part(graph: GraphEditor, text: str) -> Part:
    """The output that `text` names, as float32 unless it holds integers; a part of it where indices follow in brackets.

    UsageError for an unknown output, and for indices that are not numbers and slices within the output's shape.
    """
    by_name = {tensor.name: tensor for tensor in graph.outputs}
    match = re.fullmatch(r"(.+?)\s*\[([^\[\]]*)\]", text)
    name, indices = (match[1], match[2].split(",")) if match and text not in by_name else (text, [])
    if name not in by_name:
        raise UsageError(
            f"{graph.source} has no output '{name}'{suggestion(name, list(by_name))}; there are: {', '.join(by_name)}"
        )
    tensor = by_name[name]
    if len(indices) > len(tensor.shape):
        raise UsageError(f"'{text}' has {len(indices)} indices, {name} of {graph.source} is {list(tensor.shape)}")
    return _indexed(graph, tensor, text, indices)


def reshaped(graph: GraphEditor, part: Part, shape: tuple[int, ...]) -> Part:
    """The same values in another shape, of which one dimension may be -1."""
    if part.shape == shape:
        return part
    return Part(graph.add("Reshape", part.name, graph.constant(shape, np.int64)), shape, part.text, part.is_integer)


def transposed(graph: GraphEditor, part: Part, order: tuple[int, ...]) -> Part:
    """The part with its dimensions in another order; a transpose that ends the graph is taken back instead of a second one."""
    shape = tuple(part.shape[axis] for axis in order)
    last = graph.producer(part.name)
    if last is not None and last.op_type == "Transpose":
        before = next((list(a.ints) for a in last.attribute if a.name == "perm"), list(range(len(shape)))[::-1])
        if [before[axis] for axis in order] == list(range(len(shape))):
            return replace(part, name=last.input[0], shape=shape)
    return replace(part, name=graph.add("Transpose", part.name, perm=list(order)), shape=shape)


def chosen(graph: GraphEditor, part: Part, indices: tuple[int, ...], axis: int) -> Part:
    """The part with only these indices along `axis`, in their order."""
    if indices == tuple(range(part.shape[axis])):
        return part
    shape = (*part.shape[:axis], len(indices), *part.shape[axis + 1 :])
    if indices == tuple(range(indices[0], indices[0] + len(indices))):
        name = graph.cut(part.name, indices[0], indices[-1] + 1, axis)
    else:
        name = graph.add("Gather", part.name, graph.constant(indices, np.int64), axis=axis)
    return Part(name, shape, part.text, part.is_integer)


def as_rows(graph: GraphEditor, part: Part, rows: int, *, columns: int | None = None, role: str) -> Part:
    """The part as [1, rows, columns], from either order of the two; dimensions of 1 do not matter."""
    dims = tuple(dim for dim in part.shape if dim != 1)
    dims = (1, *dims) if rows == 1 else dims
    dims += (1,) * (2 - len(dims))
    wanted = f"[1, {rows if rows > 0 else 'N'}, {columns or 'C'}]"
    if len(dims) != 2 or rows < 1 or not {rows, -1}.intersection(dims):
        raise wrong_shape(graph, role, part, wanted)
    if dims[0] == rows or (dims[0] == -1 and dims[1] != rows):
        flat = reshaped(graph, part, (1, rows, dims[1]))
    else:
        flat = transposed(graph, reshaped(graph, part, (1, dims[0], rows)), (0, 2, 1))
    if flat.shape[2] < 1 or (columns is not None and flat.shape[2] != columns):
        raise wrong_shape(graph, role, part, wanted)
    return flat


def as_planes(graph: GraphEditor, part: Part, layout: Layout, *, role: str) -> Part:
    """The part, of `layout` and with or without a batch, as [1, C, h, w]."""
    if len(part.shape) == 3:
        part = reshaped(graph, part, (1, *part.shape))
    if len(part.shape) != 4 or part.shape[0] not in (1, -1) or -1 in part.shape[1:]:
        wanted = "[1, C, height, width] or, with output_layout: nhwc, [1, height, width, C]"
        raise wrong_shape(graph, role, part, wanted)
    part = replace(part, shape=(1, *part.shape[1:]))
    return transposed(graph, part, (0, 3, 1, 2)) if layout == "nhwc" else part


def wrong_shape(graph: GraphEditor, role: str, part: Part, wanted: str) -> ExportError:
    """The error for a part of another shape than a role wants."""
    shape = [dim if dim != -1 else "?" for dim in part.shape]
    hint = _open_shape(graph, part) if -1 in part.shape else "check the recipe's keys"
    return ExportError(f"{graph.source}: {role} are read from '{part.text}' of shape {shape}, wanted {wanted}; {hint}")


def _open_shape(graph: GraphEditor, part: Part) -> str:
    """Why the graph does not state a shape, and what helps."""
    node = graph.data_dependent(part.name)
    if node is None:
        return "a shape that the graph leaves open (?) often becomes known by onnxslim; else export with fixed shapes"
    return (
        f"it depends on {node.op_type} (node '{node.name}'), whose result changes its size or path with the picture: export the "
        "network again so that it returns what stands before that, such as the raw boxes and scores of every anchor before "
        "threshold and NMS; the runtime does the rest"
    )


def _indexed(graph: GraphEditor, tensor: TensorSpec, text: str, indices: list[str]) -> Part:
    shape = [dim if isinstance(dim, int) and dim >= 0 else -1 for dim in tensor.shape]
    is_integer = tensor.dtype not in ("float16", "float32", "float64")
    name, dropped = tensor.name if is_integer else graph.as_float(tensor), []
    for axis, index in enumerate(indices):
        start, stop, drops = _bounds(index, text)
        size = shape[axis]
        if size >= 0:
            start, stop = _clamped(start, size), _clamped(stop, size)
            if start >= stop:
                raise UsageError(
                    f"'{text}': nothing of {tensor.name} {list(tensor.shape)} lies within [{index.strip()}]"
                )
        elif (start, stop) != (0, _FAR) and not drops:
            raise UsageError(
                f"'{text}': the graph does not state dimension {axis} of {tensor.name}; leave its index out"
            )
        if (start, stop) != (0, _FAR) and (start, stop) != (0, size):
            name, shape[axis] = graph.cut(name, start, stop, axis), stop - start
        dropped += [axis] if drops else []
    part = Part(name, tuple(shape), text, is_integer)
    rest = tuple(dim for axis, dim in enumerate(shape) if axis not in dropped)
    return reshaped(graph, part, rest) if dropped else part


def _bounds(index: str, text: str) -> tuple[int, int, bool]:
    """First, last + 1, and whether the dimension goes away, as a single number makes it do."""
    match = re.fullmatch(r"\s*(-?\d+)?\s*(:)?\s*(-?\d+)?\s*", index)
    if match is None or not any(match.groups()) or (match[3] and not match[2]):
        raise UsageError(f"'{text}': '{index.strip()}' is no index; write output[:, 4:84], with numbers and slices")
    if match[2]:
        return int(match[1] or 0), int(match[3] or _FAR), False
    single = int(match[1])
    return single, single + 1 if single != -1 else _FAR, True


def _clamped(bound: int, size: int) -> int:
    return max(0, min(bound if bound >= 0 else bound + size, size))
