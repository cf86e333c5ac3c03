"""A torch network becomes a static ONNX graph that any engine can load: fixed shapes, no data-dependent operator."""

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
import onnxslim
import torch
from onnx import shape_inference

from edgewright.export.graph_editor import DATA_DEPENDENT, opset_of, tensor_spec
from edgewright.runtime.errors import ExportError

_log = logging.getLogger(__name__)

_DYNAMO_OPSET = 20  # GridSample and the reductions of torch's own translations settle here
_LEGACY_OPSET = 18


@dataclass(frozen=True)
class Converted:
    """A checked, simplified ONNX model, and which exporter made it ("torch dynamo", ...)."""

    model: onnx.ModelProto
    exporter: str
    opset: int


@dataclass(frozen=True)
class _Job:
    module: Any
    inputs: Mapping[str, Any]
    outputs: Mapping[str, tuple[int, ...]]


def to_onnx(
    module: Any, inputs: Mapping[str, Any], outputs: Sequence[str], *, exporters: Sequence[str] | None = None
) -> Converted:
    """The graph of a torch module whose `forward(*inputs)` returns as many tensors as `outputs` has names.

    `inputs` are example tensors by name, with the shapes that the graph will have. The exporters are tried in order until
    one gives a static graph. The module is left in evaluation mode. ExportError says which operator or output stands in the
    way and what to do.
    """
    # The legacy exporter restores the outer module's training flag in every submodule: it must be off before, not during.
    module.eval()
    job = _Job(module, inputs, _output_shapes(module, inputs, outputs))
    problems = []
    branch: str | None = None
    for name in exporters or tuple(_EXPORTERS):
        try:
            model = _finished(_quietly(_EXPORTERS[name], job), job)
        except _SizeFollowsPicture:
            raise  # the next exporter would build the size of one picture into the graph
        except ExportError as err:
            problems.append((name, str(err)))
        except Exception as err:  # noqa: BLE001 - the exporters let anything through; the next one may know better
            problems.append((name, _first_line(err)))
            branch = branch or _branch_on_values(err)
        else:
            if branch is not None:
                _log.warning(
                    "the network asks a tensor for its value and goes on accordingly (%s); the way it takes for a blank image is "
                    "built into the graph: write that with torch.where, unless the value is the same for every picture",
                    branch,
                )
            return Converted(model, f"torch {name}", opset_of(model))
        _log.info("the %s exporter cannot: %s", *problems[-1])
    raise ExportError(_explanation(problems))


class _SizeFollowsPicture(ExportError):
    """An output's size depends on values of the input."""


def check_static(model: onnx.ModelProto) -> None:
    """ExportError unless the graph has only standard operators, none of them data-dependent, and every input and output
    has a fixed shape."""
    for node in model.graph.node:
        if node.op_type in DATA_DEPENDENT:
            raise ExportError(
                f"output {_reached_from(model.graph, node)} depends on {node.op_type} (node '{node.name}'), whose result changes "
                "its size or path with the picture; wrap the network so that it returns what stands before it "
                "(raw boxes and scores of every anchor before threshold and NMS, logits before a selection): the runtime does the rest"
            )
        if node.domain not in ("", "ai.onnx"):
            raise ExportError(
                f"node '{node.name}' is {node.domain}.{node.op_type}, which no standard engine has; write it with torch's own operators"
            )
    for value in [*model.graph.input, *model.graph.output]:
        shape = tensor_spec(value).shape
        if not all(isinstance(dim, int) and dim > 0 for dim in shape):
            raise ExportError(
                f"'{value.name}' has the shape {list(shape)}, every dimension must be fixed; "
                "return a tensor whose size follows from the input's size alone"
            )


def _output_shapes(module: Any, inputs: Mapping[str, Any], names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    with torch.no_grad():
        try:
            result = module(*inputs.values())
        except Exception as err:  # a user's network may raise anything
            shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in inputs.items())
            raise ExportError(f"the network fails on the input {shapes}: {_first_line(err)}") from err
    tensors = (result,) if isinstance(result, torch.Tensor) else result
    fits = isinstance(tensors, tuple | list) and all(isinstance(t, torch.Tensor) for t in tensors)
    if not fits or len(tensors) != len(names):
        raise ExportError(
            f"the network returns {_kind(result)}, {len(names)} tensor(s) are wanted: {', '.join(names)}; "
            "wrap it in a module whose forward returns them as a tuple"
        )
    return {name: tuple(tensor.shape) for name, tensor in zip(names, tensors, strict=True)}


def _kind(value: object) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}: " + ", ".join(type(item).__name__ for item in value[:5])
    if isinstance(value, dict):
        return f"a dict of {', '.join(map(str, list(value)[:5]))}"
    return f"a {type(value).__name__}"


def _dynamo(job: _Job) -> onnx.ModelProto:
    program = torch.onnx.export(
        job.module,
        tuple(job.inputs.values()),
        input_names=list(job.inputs),
        output_names=list(job.outputs),
        opset_version=_DYNAMO_OPSET,
        dynamo=True,
        verbose=False,
        custom_translation_table=_translations(),
    )
    model: onnx.ModelProto = program.model_proto
    return model


def _translations() -> dict[Any, Callable[..., Any]]:
    """The operators that torch's own table lacks."""
    from onnxscript import opset20 as op

    # RT-DETRv2 and D-FINE check their inputs with it.
    def is_all_true(x: Any) -> Any:
        whole = op.Cast(x, to=onnx.TensorProto.INT32)
        return op.Cast(op.ReduceMin(whole, keepdims=0), to=onnx.TensorProto.BOOL)

    return {torch.ops.aten._is_all_true.default: is_all_true}


def _legacy(job: _Job) -> onnx.ModelProto:
    buffer = io.BytesIO()
    torch.onnx.export(
        job.module,
        tuple(job.inputs.values()),
        buffer,
        input_names=list(job.inputs),
        output_names=list(job.outputs),
        opset_version=_LEGACY_OPSET,
        dynamo=False,
    )
    return onnx.load_from_string(buffer.getvalue())


_EXPORTERS: dict[str, Callable[[_Job], onnx.ModelProto]] = {"dynamo": _dynamo, "legacy": _legacy}


def _quietly(export: Callable[[_Job], onnx.ModelProto], job: _Job) -> onnx.ModelProto:
    """The export without the remarks of torch and its optimizer on their tracing; what matters is checked afterwards."""
    logs = [logging.getLogger(name) for name in ("torch", "onnxscript")]
    levels = [log.level for log in logs]
    said = io.StringIO()  # a failure prints the whole traced program
    with (
        warnings.catch_warnings(),
        torch.no_grad(),
        contextlib.redirect_stderr(said),
        contextlib.redirect_stdout(said),
    ):
        warnings.simplefilter("ignore")
        for log in logs:
            log.setLevel(logging.CRITICAL)
        try:
            return export(job)
        finally:
            for log, level in zip(logs, levels, strict=True):
                log.setLevel(level)


def _finished(model: onnx.ModelProto, job: _Job) -> onnx.ModelProto:
    _refuse_free_sizes(model)
    model = onnxslim.slim(model)
    # Tracing leaves names for sizes that are constant all the same; without data-dependent operators they are torch's.
    for value in model.graph.output:
        if not any(node.op_type in DATA_DEPENDENT for node in model.graph.node):
            _set_shape(value, job.outputs[value.name])
    check_static(model)
    model = shape_inference.infer_shapes(model, data_prop=True)
    onnx.checker.check_model(model, full_check=True)
    return model


def _refuse_free_sizes(model: onnx.ModelProto) -> None:
    """_SizeFollowsPicture for an output one of whose sizes torch could not tell: such values are u0, zuf1, ... to it.

    Where an operator is to blame, `check_static` names it.
    """
    if any(node.op_type in DATA_DEPENDENT for node in model.graph.node):
        return
    for value in model.graph.output:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if re.search(r"\bz?uf?\d+\b", dim.dim_param):
                raise _SizeFollowsPicture(
                    f"output '{value.name}' changes its size with the picture, in dimension {axis}; wrap the network so that it "
                    "returns a tensor whose size follows from the input's size alone: all rows with their scores, before any is "
                    "chosen or cut off; the runtime does the rest"
                )


def _branch_on_values(err: BaseException) -> str | None:
    """The line of the network's code that asks a tensor for its value, where that is what stopped the exporter."""
    while err.__cause__ is not None:
        err = err.__cause__
    if "data-dependent" not in str(err):
        return None
    lines = re.findall(r'File "([^"]+)", line (\d+), in \w+\n\s*(\S.*)', str(err))
    return "{}, line {}: {}".format(*lines[-1]) if lines else "torch does not say where"


def _set_shape(value: onnx.ValueInfoProto, shape: tuple[int, ...]) -> None:
    value.type.tensor_type.ClearField("shape")
    for size in shape:
        value.type.tensor_type.shape.dim.add().dim_value = size


def _reached_from(graph: onnx.GraphProto, start: onnx.NodeProto) -> str:
    """The graph outputs that need the node, quoted."""
    tainted = set(start.output)
    for node in graph.node:  # in topological order
        if tainted.intersection(node.input):
            tainted.update(node.output)
    return ", ".join(f"'{value.name}'" for value in graph.output if value.name in tainted) or "(none)"


def _explanation(problems: list[tuple[str, str]]) -> str:
    """The most telling problem: an operator's name says more than a failed guard of the tracer."""
    named = [text for _, text in problems if "depends on" in text or "has the shape" in text]
    if named:
        return named[-1]
    return "torch cannot export the network; " + "; ".join(f"{name}: {text}" for name, text in problems)


def _first_line(err: BaseException) -> str:
    """The first line of the innermost cause: torch wraps what went wrong in pages of advice."""
    while err.__cause__ is not None:
        err = err.__cause__
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    return f"{type(err).__name__}: {lines[0][:300] if lines else ''}"
