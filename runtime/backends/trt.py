"""TensorRT on Jetsons and NVIDIA GPUs: an engine is built of the bundle's graph once per device, kept, and run."""

import importlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgewright.runtime.backends import BackendOptions, Setting
from edgewright.runtime.errors import BackendError, EdgeError
from edgewright.runtime.jetson import jetson_linux
from edgewright.runtime.tensorrt.cuda import Cuda
from edgewright.runtime.tensorrt.driver import LIBRARY, OTHERWISE, Driver, preflight
from edgewright.runtime.tensorrt.interface import TensorRt
from edgewright.runtime.tensorrt.on_device import Device, bundle_of, engine_here, plan_here, this_device
from edgewright.runtime.tensorrt.plan import BuildSpec, Precision
from edgewright.runtime.tensorrt.runner import EngineRunner

_LOG = logging.getLogger(__name__)
_PRECISIONS: dict[str, Precision] = {"fp32": "fp32", "fp16": "fp16", "int8": "int8"}


def open_backend(path: Path, options: BackendOptions, dla_core: int | None = None) -> EngineRunner:
    """The graph of the bundle's model file `path` as an engine of this device; it is built when none is in the cache.

    BackendError without a driver, a GPU or TensorRT, before any of them could end the process.
    """
    driver = preflight(LIBRARY)
    return open_engine(path, options, driver, import_tensorrt(), Cuda(), dla_core)


def open_engine(
    path: Path, options: BackendOptions, driver: Driver, trt: TensorRt, cuda: Cuda, dla_core: int | None = None
) -> EngineRunner:
    """As `open_backend`, with what was found of the driver, TensorRT and CUDA."""
    bundle, entry = bundle_of(path)
    device = this_device(driver, str(trt.__version__), cuda.version, module=str(trt.__name__))
    spec = plan_here(
        bundle,
        device,
        precision=_PRECISIONS[options.precision],
        graph=entry.graph,
        dla_core=dla_core,
        batch=options.batch,
    )
    engine = engine_here(bundle, spec, device, options.cache_dir, tell=_tell, graph=entry.graph)
    log = logger_of(trt)
    # A DLA's work cannot be captured.
    graphs = spec.dla_core is None
    runner = EngineRunner(trt, cuda, log, engine.path.read_bytes(), said=log.last_word, graphs=graphs)
    runner.engine_path = engine.path
    runner.settings.update(_settings(device, spec, runner))
    return runner


def unavailable() -> str | None:
    """Why this backend does not run here, None when it can."""
    try:
        preflight(LIBRARY)
        import_tensorrt()
    except EdgeError as err:
        return str(err)
    return None


def import_tensorrt(name: str = "tensorrt") -> Any:
    """TensorRT's Python module; BackendError that says how this Python gets it. Call `preflight` before it is used."""
    try:
        module = importlib.import_module(name)
    except (ImportError, OSError) as err:
        if isinstance(err, ModuleNotFoundError) and err.name == name:
            raise BackendError(_not_installed()) from err
        raise BackendError(f"TensorRT does not load: {err}; install its libraries again, or {OTHERWISE}") from err
    if module.__file__ is None:
        # A folder of that name without code, such as that of type stubs, is imported as well.
        raise BackendError(_not_installed())
    return module


def logger_of(trt: TensorRt) -> "TensorRtLog":
    """The one logger of this process: TensorRT ignores a second."""
    for module, log in _LOGGERS:
        if module is trt:
            return log
    _LOGGERS.append((trt, _log_type(trt)()))
    return _LOGGERS[-1][1]


class Log:
    """TensorRT's log, passed on to Python's, and the errors kept: TensorRT says its reasons nowhere else."""

    def __init__(self, serious: tuple[Any, ...]) -> None:
        self.serious = serious
        self.errors: list[str] = []

    def log(self, severity: Any, message: str) -> None:
        """Called by TensorRT."""
        _LOG.debug("%s", message)
        if severity in self.serious:
            self.errors = [*self.errors[-4:], " ".join(str(message).split())]

    def last_word(self) -> str:
        """The last error, "" without one."""
        return self.errors[-1][:300] if self.errors else ""

    def quoted(self) -> str:
        """The errors to put behind a sentence."""
        return f"; TensorRT says: {' | '.join(self.errors)[:600]}" if self.errors else ""


if TYPE_CHECKING:
    from edgewright.runtime.tensorrt.interface import tensorrt

    class TensorRtLog(Log, tensorrt.ILogger):  # type: ignore[misc]
        """What `_log_type` makes."""


_LOGGERS: "list[tuple[TensorRt, TensorRtLog]]" = []


def _log_type(trt: TensorRt) -> Any:
    base: Any = trt.ILogger

    class TensorRtLog(Log, base):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            Log.__init__(self, (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR))

    return TensorRtLog


def _settings(device: Device, spec: BuildSpec, runner: EngineRunner) -> dict[str, Setting]:
    """What a timing holds for: on what, how many pictures at once, and whether they are copied to the GPU and back."""
    key, batch = device.key, spec.batch[1] if spec.batch is not None else runner.inputs[0].shape[0]
    return {
        "device": key.gpu,
        "processor": "GPU" if spec.dla_core is None else f"DLA {spec.dla_core}",
        "sm": key.sm,
        "driver": key.driver,
        "power_mode": key.power_mode,
        "dialect": spec.dialect,
        "batch": batch,
        "transfers": "none (shared memory)" if runner.settings["zero_copy"] else "included",
        "executed_precision": spec.precision,
    }


def _not_installed() -> str:
    if jetson_linux(Path("/")) is not None:
        return (
            "this Python has no TensorRT; on a Jetson it belongs to the system's Python: `sudo apt install python3-libnvinfer`, and make "
            f"the environment with `/usr/bin/python3 -m venv --system-site-packages` (pip cannot install it there), or {OTHERWISE}"
        )
    return f"this Python has no TensorRT; run: pip install 'edgewright[tensorrt]', or {OTHERWISE}"


def _tell(text: str) -> None:
    _LOG.warning("%s", text)
