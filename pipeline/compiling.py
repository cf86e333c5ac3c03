"""From a bundle to a TensorRT engine: plan it, lint the graph, say the same as a trtexec command, and build where that works."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.runtime.backends import trt as backend
from edgewright.runtime.bundle import Bundle, load_bundle
from edgewright.runtime.errors import BackendError, UsageError
from edgewright.runtime.tensorrt.cuda import Cuda
from edgewright.runtime.tensorrt.driver import preflight
from edgewright.runtime.tensorrt.on_device import Device, engine_here, engine_name, plan_here, this_device, user_cache
from edgewright.runtime.tensorrt.plan import BuildSpec, Precision, plan_build
from edgewright.runtime.tensorrt.targets import Target, find_target
from edgewright.runtime.tensorrt.trtexec import ON_JETSON, trtexec_command

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Compilation:
    """What is to be built, what the rules say (None: the package onnx is not installed), and the engine or why there is none."""

    spec: BuildSpec
    target: Target
    findings: list[Any] | None
    trtexec: str
    engine: Path | None = None
    not_built: str | None = None

    @property
    def fails(self) -> bool:
        """Whether a rule says that the build cannot succeed."""
        return any(finding.level == "error" for finding in self.findings or ())


def compile_bundle(
    path: Path, target: str | None, *, precision: Precision, output: Path | None, build: bool, tell: Tell
) -> Compilation:
    """Plan and lint the bundle for `target` (None: this device), then build into `output` (None: the cache that runs use).

    Built only where no rule objects and this device is the target. BackendError when this device is asked for and has no
    TensorRT.
    """
    bundle = load_bundle(path)
    device, problem = find_device()
    if target is None:
        if device is None:
            raise BackendError(f"{problem}; to plan for another device, name it with --target")
        where, spec = device.target, plan_here(bundle, device, precision=precision)
    else:
        where = find_target(target)
        problem = problem or _not_this_one(where, device)
        spec = plan_for(bundle, where, device if problem is None else None, precision)
    folder = output or user_cache()
    findings = _findings(bundle, spec, where)
    command = _trtexec(bundle, spec, where, folder)
    planned = Compilation(spec, where, findings, command, not_built=problem)
    if planned.fails or not build or problem is not None or device is None:
        return planned
    engine = engine_here(bundle, spec, device, folder, tell=tell)
    return Compilation(spec, where, findings, command, engine.path)


def find_device() -> tuple[Device | None, str | None]:
    """This device, or why it builds no engines."""
    try:
        driver = preflight()
        trt = backend.import_tensorrt()
        return this_device(driver, str(trt.__version__), Cuda().version), None
    except BackendError as err:
        return None, str(err)


def plan_for(bundle: Bundle, target: Target, device: Device | None, precision: Precision) -> BuildSpec:
    """The plan for a target; for this device, as its runs plan it, so that they find the engine."""
    if device is not None:
        return plan_here(bundle, device, precision=precision)
    open_batch = any(not isinstance(tensor.shape[0], int) or tensor.shape[0] < 0 for tensor in bundle.spec.inputs)
    return plan_build(bundle, target, precision=precision, batch=(1, 1, 8) if open_batch else None)


def describe(spec: BuildSpec, target: Target) -> list[str]:
    """The plan in words, a fact a line."""
    typing = "typed by the graph itself" if spec.dialect == "strong" else "precision by flags"
    lines = [
        f"target     {target.name}: TensorRT {target.version}" + (f", sm {target.sm}" if target.sm else ""),
        f"model      {spec.model} ({spec.precision}, {typing})",
        f"flags      {', '.join((*spec.network_flags, *spec.flags)) or 'none'}",
        f"workspace  {spec.workspace_bytes >> 20} MiB",
    ]
    if spec.batch is not None:
        least, usual, most = spec.batch
        lines.append(f"batch      {least} to {most}, best at {usual}")
    return lines


def _not_this_one(target: Target, device: Device | None) -> str | None:
    if device is None:
        return None
    here = device.target
    same = here.tensorrt[:2] == target.tensorrt[:2] and target.sm in (None, here.sm)
    return None if same else f"this device is {here.name}, and engines are built where they run"


def _findings(bundle: Bundle, spec: BuildSpec, target: Target) -> list[Any] | None:
    try:
        import onnx

        from edgewright.pipeline.lint import lint
    except ModuleNotFoundError:
        return None
    model = onnx.load(str(bundle.file(spec.model)))
    return list(lint(model, target, precision=spec.precision, dialect=spec.dialect))


def _trtexec(bundle: Bundle, spec: BuildSpec, target: Target, folder: Path) -> str:
    engine = folder / f"{engine_name(bundle, spec)}.trtexec.engine"
    inputs = bundle.spec.inputs
    if spec.batch is None and any(not isinstance(tensor.shape[0], int) for tensor in inputs):
        raise UsageError(f"{bundle.path}: its batch is open; plan it with a batch")
    program = ON_JETSON if target.integrated else "trtexec"
    return shlex.join(trtexec_command(spec, bundle.file(spec.model), engine, inputs, program=program))
