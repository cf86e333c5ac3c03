"""From a bundle and a target to everything that a build needs to know; pure, so that it is tested without a GPU."""

import hashlib
import json
from typing import Literal

from edgewright.runtime.bundle import Bundle, BundleFile
from edgewright.runtime.errors import UsageError
from edgewright.runtime.spec import Positive, Strict
from edgewright.runtime.tensorrt.targets import Dialect, Target, dla_of

Precision = Literal["fp32", "fp16", "int8"]
_GIB = 2**30
# A build beside a camera's programs must not take the memory that they share with the GPU.
_SHARE_OF_MEMORY = 4
_WORKSPACE_DESKTOP = 4 * _GIB
_HARDWARE_COMPATIBILITY = "AMPERE_PLUS"


class BuildSpec(Strict):
    """How an engine is built. `flags` are names of BuilderFlag and `network_flags` of NetworkDefinitionCreationFlag: their
    numbers moved in TensorRT 11 and are never stored. `batch` is (least, usual, most) where the network's first dimension is
    open, None where all shapes are static."""

    target: str
    tensorrt: str
    dialect: Dialect
    model: str
    model_sha256: str
    precision: Precision
    flags: tuple[str, ...] = ()
    network_flags: tuple[str, ...] = ()
    workspace_bytes: Positive
    optimization_level: int | None = None
    batch: tuple[Positive, Positive, Positive] | None = None
    timing_cache: bool = True
    dla_core: int | None = None
    hardware_compatibility: str | None = None
    detailed_profile: bool = True

    @property
    def digest(self) -> str:
        """Identifies the build among engines of one bundle."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def plan_build(
    bundle: Bundle,
    target: Target,
    *,
    precision: Precision = "fp16",
    graph: str = "main",
    memory_bytes: int | None = None,
    optimization_level: int = 3,
    batch: tuple[int, int, int] | None = None,
    dla_core: int | None = None,
    hardware_compatible: bool = False,
) -> BuildSpec:
    """The build of `bundle` for `target`; UsageError for what the bundle does not hold or the target does not have.

    `memory_bytes` is what the device has, of which an integrated GPU gets a quarter as workspace.
    """
    _check_dla(target, precision, dla_core, batch)
    entry = _model_of(bundle, target.dialect, precision, graph)
    _check_batch(bundle, batch)
    if hardware_compatible and target.integrated:
        raise UsageError(
            f"target {target.name}: engines for several GPUs are not made on a Jetson; build on each board"
        )
    return BuildSpec(
        target=target.name,
        tensorrt=target.version,
        dialect=target.dialect,
        model=entry.name,
        model_sha256=entry.sha256,
        precision=precision,
        flags=_flags(target, precision, dla_core),
        network_flags=_network_flags(target),
        workspace_bytes=_workspace(target, memory_bytes),
        # Levels came with 8.6.
        optimization_level=optimization_level if target.tensorrt >= (8, 6) else None,
        batch=batch,
        dla_core=dla_core,
        hardware_compatibility=_HARDWARE_COMPATIBILITY if hardware_compatible and target.tensorrt >= (8, 6) else None,
    )


def _model_of(bundle: Bundle, dialect: Dialect, precision: Precision, graph: str) -> BundleFile:
    """The file to build from: the weak dialect takes float32 graphs for fp16 as well and sets a flag."""
    models = [file for file in bundle.files if file.role == "model" and file.graph == graph]
    wanted = "fp32" if precision == "fp16" and dialect == "weak" else precision
    fitting = [
        f for f in models if f.precision == wanted and f.target in ("trt", "any") and f.dialect in (None, dialect)
    ]
    if not fitting:
        raise UsageError(
            f"{bundle.path} holds no {precision} model for TensorRT's {dialect} typing; make one with `edgewright quantize "
            f"{bundle.path} --target tensorrt --data DATA -o BUNDLE2`, or build --precision fp32"
        )
    return min(fitting, key=lambda file: file.target == "any")


def _flags(target: Target, precision: Precision, dla_core: int | None) -> tuple[str, ...]:
    flags = []
    if target.dialect == "weak" and precision != "fp32":
        flags.append("FP16")
    if target.dialect == "weak" and precision == "int8":
        # Explicit quantization: no calibrator is ever given, and without the flag Q/DQ layers are refused.
        flags.append("INT8")
    if dla_core is not None:
        flags.append("GPU_FALLBACK")
    return tuple(flags)


def _network_flags(target: Target) -> tuple[str, ...]:
    if target.tensorrt < (10,):
        return ("EXPLICIT_BATCH",)
    # Version 11 knows nothing else; there the flag does nothing, and not every 11 has it.
    return ("STRONGLY_TYPED",) if target.dialect == "strong" and target.tensorrt < (11,) else ()


def _workspace(target: Target, memory_bytes: int | None) -> int:
    if not target.integrated:
        return _WORKSPACE_DESKTOP
    return (memory_bytes or 4 * _GIB) // _SHARE_OF_MEMORY


def _check_batch(bundle: Bundle, batch: tuple[int, int, int] | None) -> None:
    # TensorRT accepts a profile whose least is above its most, and fails later.
    if batch is not None and not 1 <= batch[0] <= batch[1] <= batch[2]:
        raise UsageError(f"batch {batch} is no range; give least, usual and most in rising order, from 1 on")
    open_batch = any(not isinstance(t.shape[0], int) or t.shape[0] < 0 for t in bundle.spec.inputs)
    if open_batch and batch is None:
        raise UsageError(
            f"{bundle.spec.name} has an open batch; say how many images the engine is for, such as --batch 4"
        )
    if batch is not None and not open_batch:
        raise UsageError(
            f"{bundle.spec.name} has a fixed batch of {bundle.spec.inputs[0].shape[0]}; leave --batch out, or open it with "
            "`edgewright batch`"
        )


def _check_dla(target: Target, precision: Precision, dla_core: int | None, batch: tuple[int, int, int] | None) -> None:
    if dla_core is None:
        return
    dla = dla_of(target)
    if dla is None:
        raise UsageError(
            f"target {target.name} has no DLA that TensorRT {target.version} runs (Xavier and Orin have one, with 8.5 to 10.7 and "
            "with 11.4.1); build for the GPU"
        )
    if precision == "fp32":
        raise UsageError("a DLA does not compute in fp32; build --precision fp16")
    if precision == "int8" and not dla.quantized:
        raise UsageError(
            f"the DLA of TensorRT {target.version} takes no Q/DQ layers ({dla.source}), so that int8 would run on the GPU; build "
            "--precision fp16 for the DLA, or int8 for the GPU"
        )
    if dla_core not in (0, 1):
        raise UsageError(
            f"there is no DLA core {dla_core}; the boards with a DLA ({dla.boards}) have core 0, most of them 1"
        )
    if batch is not None and len(set(batch)) > 1:
        raise UsageError(f"a DLA runs batches of one size, not of {batch[0]} to {batch[2]}; give one size")
