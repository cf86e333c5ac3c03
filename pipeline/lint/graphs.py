"""The graphs of a bundle that a target would take, each with its findings."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx

from edgewright.pipeline.lint import Finding, lint
from edgewright.runtime.bundle import BundleFile, load_bundle
from edgewright.runtime.errors import UsageError, first_line
from edgewright.runtime.tensorrt.targets import Dialect, Target, find_target

OPENVINO = Target("openvino", (0,), 99)


@dataclass(frozen=True)
class CheckedGraph:
    """A model file with what was found in it; an empty list is good."""

    name: str
    precision: str
    findings: list[Finding]


def lint_target(text: str) -> Target:
    """The target of that name, OpenVINO among them."""
    return OPENVINO if text == "openvino" else find_target(text)


def graphs_of(path: Path, target: Target, precision: str | None) -> list[CheckedGraph]:
    """The findings of every ONNX model in the bundle (or of the ONNX file) that the target would be given.

    UsageError when there is none.
    """
    if path.suffix == ".onnx":
        return [_checked(path, path.name, target, precision or "fp32", None)]
    bundle = load_bundle(path)
    taken = _taken(bundle.files, target, precision)
    if not taken:
        raise UsageError(
            f"{path} holds no {precision + ' ' if precision else ''}ONNX model that {target.name} would take; quantize it for that "
            "target, or leave --precision out"
        )
    return list(_all_checked(path, taken, target, precision))


def _all_checked(path: Path, files: list[BundleFile], target: Target, precision: str | None) -> Iterator[CheckedGraph]:
    for file in files:
        yield _checked(path / file.name, file.name, target, precision or file.precision or "fp32", file.dialect)


def _taken(files: tuple[BundleFile, ...], target: Target, precision: str | None) -> list[BundleFile]:
    """What the target would be given: a portable file only where there is none of its own for that graph and precision."""
    # Flags make fp16 of a float32 graph where types are weak, as the plan of a build has it.
    by_flag = precision == "fp16" and target.name != "openvino" and target.dialect == "weak"
    fitting = [file for file in files if _is_for(file, target, "fp32" if by_flag else precision)]
    own = {(file.graph, file.precision) for file in fitting if file.target != "any"}
    return [file for file in fitting if file.target != "any" or (file.graph, file.precision) not in own]


def _checked(path: Path, name: str, target: Target, precision: str, dialect: Dialect | None) -> CheckedGraph:
    try:
        model = onnx.load(str(path))
    except Exception as err:  # protobuf and the file system each raise their own kinds
        reason = first_line(err, limit=120)
        raise UsageError(f"{path} cannot be read as ONNX ({reason}); give a bundle or an ONNX file") from err
    # To protobuf no bytes are a message too, whose rules nothing breaks.
    if not model.graph.output:
        raise UsageError(
            f"{path} is no ONNX network, for it has no output; export it again, or give a bundle or an ONNX file"
        )
    return CheckedGraph(name, precision, lint(model, target, precision=precision, dialect=dialect))


def _is_for(file: BundleFile, target: Target, precision: str | None) -> bool:
    if (
        file.role != "model"
        or not file.name.endswith(".onnx")
        or (precision is not None and file.precision != precision)
    ):
        return False
    engine = "ov" if target.name == "openvino" else "trt"
    return file.target in (engine, "any") and file.dialect in (None, target.dialect)
