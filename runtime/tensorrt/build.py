"""Build an engine with whatever TensorRT is handed in: 8.5 to 11, or TensorRT-RTX, which runs without a GPU."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgewright.runtime.errors import BackendError
from edgewright.runtime.tensorrt.interface import TensorRt, content_of, dims, sizes_of
from edgewright.runtime.tensorrt.plan import BuildSpec
from edgewright.runtime.tensorrt.targets import FIRST_STRONG, Version

if TYPE_CHECKING:
    from edgewright.runtime.tensorrt.interface import tensorrt

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Built:
    """A serialized engine, and the timing cache that makes the next build of a like network faster."""

    engine: bytes
    timing_cache: bytes


def build_engine(
    trt: TensorRt,
    logger: "tensorrt.ILogger",
    model: bytes,
    spec: BuildSpec,
    *,
    path: Path | None = None,
    timing_cache: bytes = b"",
    tell: Tell | None = None,
) -> Built:
    """The engine of an ONNX model by `spec`; `tell` hears phase, step and number of steps (from TensorRT 10 on).

    `path` is where the model lies, beside which weights in files of their own are looked for.

    BackendError with the parser's or builder's own words; for the wrong version; and for what TensorRT accepts in silence.
    """
    version = version_of(trt)
    _check_version(trt, version, spec)
    builder = trt.Builder(logger)
    network = builder.create_network(_bits(trt.NetworkDefinitionCreationFlag, spec.network_flags))
    _parse(trt, network, logger, model, spec, path)
    config = _config(trt, builder, network, spec, tell)
    cache = None
    if spec.timing_cache and not is_rtx(trt):
        cache = config.create_timing_cache(timing_cache)
        config.set_timing_cache(cache, ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BackendError(
            f"TensorRT built no engine of {spec.model} for {spec.target} and said why only in its log; try --precision fp32, a "
            "larger workspace, or `edgewright lint`"
        )
    return Built(content_of(plan), b"" if cache is None else content_of(cache.serialize()))


def version_of(trt: TensorRt) -> Version:
    """The numbers of its version; TensorRT-RTX counts its own from 1."""
    return tuple(int(part) for part in str(trt.__version__).split(".")[:4] if part.isdigit())


def is_rtx(trt: TensorRt) -> bool:
    """Whether it is TensorRT-RTX, whose interface is that of TensorRT 11."""
    return "rtx" in str(trt.__name__)


def _check_version(trt: TensorRt, version: Version, spec: BuildSpec) -> None:
    if is_rtx(trt):
        if spec.dialect != "strong":
            raise BackendError(
                f"TensorRT-RTX types strongly, {spec.model} is planned {spec.dialect}; plan it for TensorRT 11"
            )
        return
    wanted = tuple(int(part) for part in spec.tensorrt.split("."))
    if version[: len(wanted)] != wanted and version[:2] != wanted[:2]:
        raise BackendError(
            f"this is TensorRT {trt.__version__}, the build is planned for {spec.tensorrt} ({spec.target}); plan it for this device"
        )
    if spec.dialect == "strong" and version < FIRST_STRONG:
        raise BackendError(
            f"TensorRT {trt.__version__} types weakly, {spec.model} is planned strong; plan it for this device"
        )


def _bits(flags: Any, names: tuple[str, ...]) -> int:
    """Names become the numbers of this very version: they moved in TensorRT 11."""
    return sum(1 << int(getattr(flags, name)) for name in names)


def _parse(
    trt: TensorRt,
    network: "tensorrt.INetworkDefinition",
    logger: "tensorrt.ILogger",
    model: bytes,
    spec: BuildSpec,
    path: Path | None,
) -> None:
    parser = trt.OnnxParser(network, logger)
    if parser.parse(model) if path is None else parser.parse(model, str(path)):
        return
    said = " | ".join(_errors(parser)) or "without a message"
    raise BackendError(
        f"TensorRT {trt.__version__} cannot read {spec.model}: {said}; `edgewright lint` says what to change"
    )


def _errors(parser: "tensorrt.OnnxParser") -> Iterator[str]:
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        # Names of nodes came with 10.
        where = (
            f"{error.node_name()} ({error.node_operator()})" if hasattr(error, "node_name") else f"node {error.node()}"
        )
        yield f"{where}: {error.desc()}"


def _config(
    trt: TensorRt,
    builder: "tensorrt.Builder",
    network: "tensorrt.INetworkDefinition",
    spec: BuildSpec,
    tell: Tell | None,
) -> "tensorrt.IBuilderConfig":
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, spec.workspace_bytes)
    for name in spec.flags:
        config.set_flag(getattr(trt.BuilderFlag, name))
    if spec.optimization_level is not None and not is_rtx(trt):
        config.builder_optimization_level = spec.optimization_level
    if spec.detailed_profile:
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if spec.hardware_compatibility is not None:
        config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, spec.hardware_compatibility)
    if spec.dla_core is not None:
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = spec.dla_core
    if spec.batch is not None:
        _add_profile(builder, network, config, spec.batch)
    _refuse_open_shapes(network, spec)
    if tell is not None and hasattr(trt, "IProgressMonitor"):
        config.progress_monitor = _monitor(trt, tell)
    return config


def _add_profile(
    builder: "tensorrt.Builder",
    network: "tensorrt.INetworkDefinition",
    config: "tensorrt.IBuilderConfig",
    batch: tuple[int, int, int],
) -> None:
    profile = builder.create_optimization_profile()
    for tensor in _inputs(network):
        shape = sizes_of(tensor.shape)
        if -1 in shape:
            least, usual, most = (dims((size, *shape[1:])) for size in batch)
            profile.set_shape(tensor.name, least, usual, most)
    if config.add_optimization_profile(profile) < 0:
        raise BackendError(
            f"TensorRT refuses the profile of batches {batch}; give least, usual and most in rising order"
        )


def _refuse_open_shapes(network: "tensorrt.INetworkDefinition", spec: BuildSpec) -> None:
    for tensor in _inputs(network):
        shape = sizes_of(tensor.shape)
        if -1 in shape[1:] or (-1 in shape and spec.batch is None):
            raise BackendError(
                f"input '{tensor.name}' of {spec.model} has the open shape {list(shape)}; export it with static shapes, or give a batch"
            )


def _inputs(network: "tensorrt.INetworkDefinition") -> "Iterator[tensorrt.ITensor]":
    return (network.get_input(index) for index in range(network.num_inputs))


def _monitor(trt: TensorRt, tell: Tell) -> "tensorrt.IProgressMonitor":
    """TensorRT's progress as calls of `tell`; it never cancels."""

    base: Any = trt.IProgressMonitor

    class Monitor(base):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name] = num_steps
            tell(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            tell(phase_name, step + 1, self.steps.get(phase_name, 0))
            return True

        def phase_finish(self, phase_name: str) -> None:
            tell(phase_name, self.steps.get(phase_name, 0), self.steps.pop(phase_name, 0))

    return Monitor()
