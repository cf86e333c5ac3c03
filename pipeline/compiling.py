"""From a bundle to a TensorRT engine: plan it, lint the graph, say the same as a trtexec command, and build where that works."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgewright.runtime.backends import trt as backend
from edgewright.runtime.bundle import Bundle, load_bundle
from edgewright.runtime.errors import BackendError, EdgeError
from edgewright.runtime.tensorrt.cuda import Cuda
from edgewright.runtime.tensorrt.driver import preflight
from edgewright.runtime.tensorrt.on_device import (
    Device,
    batch_range,
    engine_here,
    engine_name,
    plan_here,
    this_device,
    user_cache,
)
from edgewright.runtime.tensorrt.plan import BuildSpec, Precision, plan_build
from edgewright.runtime.tensorrt.targets import Target, find_target
from edgewright.runtime.tensorrt.trtexec import ON_JETSON, trtexec_command

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Compilation:
    """What is to be built of one graph, what the rules say (None: the package onnx is not installed), and the engine or why
    there is none."""

    graph: str
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
    path: Path,
    target: str | None,
    *,
    precision: Precision,
    output: Path | None,
    build: bool,
    tell: Tell,
    dla_core: int | None = None,
    batch: int | None = None,
) -> list[Compilation]:
    """Plan and lint every graph of the bundle for `target` (None: this device), then build into `output` (None: the cache that
    runs use).

    Built only where no rule objects and this device is the target. BackendError when this device is asked for and has no
    TensorRT.
    """
    bundle = load_bundle(path)
    device, problem = find_device()
    if target is None:
        if device is None:
            raise BackendError(f"{problem}; to plan for another device, name it with --target")
        where = device.target
    else:
        where = find_target(target)
        problem = problem or _not_this_one(where, device)
    here = device if problem is None else None
    # A command that is printed for another machine names no folder of this one.
    folder = output or (Path() if here is None else user_cache())
    graphs = ("main", *(graph.name for graph in bundle.spec.graphs or ()))
    planned = [_planned(bundle, where, here, folder, precision, graph, problem, dla_core, batch) for graph in graphs]
    if here is None or not build or any(one.fails for one in planned):
        return planned
    return [
        replace(one, engine=engine_here(bundle, one.spec, here, folder, tell=tell, graph=one.graph).path)
        for one in planned
    ]


def find_device() -> tuple[Device | None, str | None]:
    """This device, or why it builds no engines."""
    try:
        driver = preflight()
        trt = backend.import_tensorrt()
        return this_device(driver, str(trt.__version__), Cuda().version), None
    except EdgeError as err:
        return None, str(err)


def describe(spec: BuildSpec, target: Target) -> list[str]:
    """The plan in words, a fact a line."""
    typing = "typed by the graph itself" if spec.dialect == "strong" else "precision by flags"
    lines = [
        f"target     {target.name}: TensorRT {target.version}" + (f", sm {target.sm}" if target.sm else ""),
        f"model      {spec.model} ({spec.precision}, {typing})",
        f"flags      {', '.join((*spec.network_flags, *spec.flags)) or 'none'}",
        f"workspace  {spec.workspace_bytes >> 20} MiB",
    ]
    if spec.dla_core is not None:
        lines.append(f"processor  DLA {spec.dla_core}; what it cannot run falls back to the GPU")
    if spec.batch is not None:
        lines.append(f"batch      {spec.batch[1]}")
    return lines


def _planned(
    bundle: Bundle,
    target: Target,
    device: Device | None,
    folder: Path,
    precision: Precision,
    graph: str,
    problem: str | None,
    dla_core: int | None,
    batch: int | None,
) -> Compilation:
    spec = _plan(bundle, target, device, precision, graph, dla_core, batch)
    return Compilation(
        graph,
        spec,
        target,
        _findings(bundle, spec, target),
        _trtexec(bundle, spec, target, folder, graph),
        not_built=problem,
    )


def _plan(
    bundle: Bundle,
    target: Target,
    device: Device | None,
    precision: Precision,
    graph: str,
    dla_core: int | None,
    batch: int | None,
) -> BuildSpec:
    """The plan for a target; for this device, as its runs plan it, so that they find the engine."""
    if device is not None:
        return plan_here(bundle, device, precision=precision, graph=graph, dla_core=dla_core, batch=batch)
    sizes = batch_range(bundle, batch)
    return plan_build(bundle, target, precision=precision, graph=graph, batch=sizes, dla_core=dla_core)


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
    dla = spec.dla_core is not None
    return list(lint(model, target, precision=spec.precision, dialect=spec.dialect, dla=dla))


def _trtexec(bundle: Bundle, spec: BuildSpec, target: Target, folder: Path, graph: str) -> str:
    engine = folder / f"{engine_name(bundle, spec, graph)}.trtexec.engine"
    inputs = {"main": bundle.spec.inputs, **{one.name: one.inputs for one in bundle.spec.graphs or ()}}[graph]
    program = ON_JETSON if target.integrated else "trtexec"
    return shlex.join(trtexec_command(spec, bundle.file(spec.model), engine, inputs, program=program))
