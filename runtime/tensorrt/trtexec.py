"""The trtexec command that builds and times the same engine by hand, for every version, with comparable settings."""

from pathlib import Path

from edgewright.runtime.spec import TensorSpec
from edgewright.runtime.tensorrt.plan import BuildSpec
from edgewright.runtime.tensorrt.targets import Version, parse_version

ON_JETSON = "/usr/src/tensorrt/bin/trtexec"
_MIB = 2**20


def trtexec_command(
    spec: BuildSpec,
    model: Path,
    engine: Path,
    inputs: tuple[TensorSpec, ...],
    *,
    build_only: bool = False,
    transfers: bool = False,
    seconds: int = 10,
    program: str = ON_JETSON,
) -> list[str]:
    """The arguments, the program first. Timing flags are always said: their defaults changed in TensorRT 11."""
    version = parse_version(spec.tensorrt)
    words = [program, f"--onnx={model}", f"--saveEngine={engine}", *_memory(spec, version), *_precision(spec, version)]
    if spec.batch is not None:
        names = ("minShapes", "optShapes", "maxShapes")
        words += [f"--{name}={_shapes(inputs, size)}" for name, size in zip(names, spec.batch, strict=True)]
    if spec.optimization_level is not None:
        words.append(f"--builderOptimizationLevel={spec.optimization_level}")
    if spec.hardware_compatibility == "AMPERE_PLUS":
        words.append("--hardwareCompatibilityLevel=ampere+")
    if spec.dla_core is not None:
        words += [f"--useDLACore={spec.dla_core}", "--allowGPUFallback"]
    words += ["--profilingVerbosity=detailed", f"--timingCacheFile={engine.with_suffix('.timing')}"]
    if build_only:
        return [*words, "--skipInference" if version >= (8, 6) else "--buildOnly"]
    layers = engine.with_suffix(".layers.json")
    timing = _timing(version, transfers=transfers, seconds=seconds, dla=spec.dla_core is not None)
    return [*words, *timing, f"--exportLayerInfo={layers}"]


def timing_command(
    engine: Path,
    version: Version,
    *,
    dla_core: int | None = None,
    transfers: bool = False,
    seconds: int = 3,
    program: str = ON_JETSON,
) -> list[str]:
    """The arguments that time an engine that is built, with the same settings."""
    core = [] if dla_core is None else [f"--useDLACore={dla_core}"]
    timing = _timing(version, transfers=transfers, seconds=seconds, dla=dla_core is not None)
    return [program, f"--loadEngine={engine}", *core, *timing]


def _memory(spec: BuildSpec, version: Version) -> list[str]:
    mib = spec.workspace_bytes // _MIB
    # Pools came with 8.4; before, the workspace had a flag of its own.
    return [f"--memPoolSize=workspace:{mib}" if version >= (8, 4) else f"--workspace={mib}"]


def _precision(spec: BuildSpec, version: Version) -> list[str]:
    if spec.dialect == "strong":
        # In 11 there is nothing else, and the flag does nothing.
        return ["--stronglyTyped"] if version < (11,) else []
    return [f"--{flag.lower()}" for flag in spec.flags if flag in ("FP16", "INT8")]


def _timing(version: Version, *, transfers: bool, seconds: int, dla: bool) -> list[str]:
    """CUDA graphs, which capture no DLA, spinning waits and no transfers: on by default from 11 on, off before."""
    words = [f"--duration={seconds}", "--warmUp=500", "--iterations=100", "--percentile=50,90,95,99"]
    if version >= (11,):
        return [*words, *(["--includeDataTransfers"] if transfers else [])]
    graph = [] if dla else ["--useCudaGraph"]
    return [*words, *graph, "--useSpinWait", *([] if transfers else ["--noDataTransfers"])]


def _shapes(inputs: tuple[TensorSpec, ...], batch: int) -> str:
    return ",".join(f"{tensor.name}:{'x'.join(str(s) for s in (batch, *tensor.shape[1:]))}" for tensor in inputs)
