"""An imitation of TensorRT's Python interface in one of its versions, which executes engines by ONNX Runtime and forgives nothing.

It has the names that the real bindings of that version have, of those that this project uses (names.json), and no other. What
the real one answers with None or False, it answers so; what there ends the process is counted as a breach by the imitation of
libcudart that it runs on.
"""

import ctypes
import enum
import hashlib
import json
import os
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

NAMES: dict[str, list[str]] = json.loads((Path(__file__).parent / "names.json").read_text(encoding="utf-8"))["names"]
VERSIONS = ("8.6.1", "10.3.0", "11.4.0")
_WORK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
# The most rows that an output of open length may have.
MOST_ROWS = 64
_KINDS = {
    "tensor(float)": "FLOAT", "tensor(float16)": "HALF", "tensor(int8)": "INT8", "tensor(uint8)": "UINT8",
    "tensor(int32)": "INT32", "tensor(int64)": "INT64", "tensor(bool)": "BOOL",
}  # fmt: skip
_NUMPY = {
    "FLOAT": np.float32, "HALF": np.float16, "INT8": np.int8, "UINT8": np.uint8,
    "INT32": np.int32, "INT64": np.int64, "BOOL": np.bool_,
}  # fmt: skip


class Dims:
    """A shape that is no tuple, as the real one."""

    def __init__(self, sizes: Any) -> None:
        self._sizes = [int(size) for size in sizes]

    def __iter__(self) -> Iterator[int]:
        return iter(self._sizes)

    def __len__(self) -> int:
        return len(self._sizes)


class _Strict:
    """Has the settings that it names, and none that a typing mistake makes."""

    settings: tuple[str, ...] = ()

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name not in self.settings:
            raise AttributeError(f"{type(self).__name__} has no setting '{name}'")
        super().__setattr__(name, value)


def write_plan(version: str, model: bytes, profile: dict[str, Any] | None = None) -> bytes:
    """A plan as the imitation of that version writes it: the real header, a profile, and the ONNX file."""
    numbers = [int(part) for part in (*version.split("."), "0", "0")[:4]]
    content = json.dumps(profile or {}).encode() + b"\n" + model
    return struct.pack("<4sI16x4B", b"ftrt", 0, *numbers) + hashlib.sha256(content).digest() + content


def imitation(version: str, library: Any = None) -> Any:
    """The module `tensorrt` of `version` on `library` (a loaded cudart.c; None: it builds, and runs nothing).

    With `fake.fail_at` N the N-th call that can fail answers None or False; `fake.flags` are the flags of its builds.
    """
    state = SimpleNamespace(fail_at=-1, calls=0, library=library, works={}, flags=[], builds_nothing=False, place=None)
    trt = SimpleNamespace(__name__="tensorrt", __version__=_full(version), fake=state)
    for part in (_enums, _running, _building):
        for name, value in part(trt, state, version).items():
            if name in NAMES and version not in NAMES[name]:
                continue
            setattr(trt, name, value)
    _keep_names_of(trt, version)
    return trt


def _full(version: str) -> str:
    return f"{version}.0"


def _keep_names_of(trt: Any, version: str) -> None:
    """Remove the members that this version does not have; the imitation must not know a name that no table lists."""
    for owner, kind in vars(trt).items():
        if not isinstance(kind, type) or issubclass(kind, enum.Enum):
            continue
        for member in [name for name in vars(kind) if not name.startswith("_") and name != "settings"]:
            versions = NAMES[f"{owner}.{member}"]
            if version not in versions:
                delattr(kind, member)
        kept = tuple(name for name in getattr(kind, "settings", ()) if version in NAMES[f"{owner}.{name}"])
        if hasattr(kind, "settings"):
            kind.settings = kept


def _enums(trt: Any, state: Any, version: str) -> dict[str, Any]:
    members: dict[str, list[str]] = {}
    for name, versions in NAMES.items():
        owner, _, member = name.partition(".")
        if owner in ENUMS and member and version in versions:
            members.setdefault(owner, []).append(member)
    # The numbers differ from those of another version on purpose: nobody may rely on them.
    shift = len(version) % 3
    return {owner: enum.IntEnum(owner, [(m, i + shift) for i, m in enumerate(ms)]) for owner, ms in members.items()}


ENUMS = (
    "BuilderFlag", "NetworkDefinitionCreationFlag", "MemoryPoolType", "ProfilingVerbosity", "HardwareCompatibilityLevel",
    "DeviceType", "DataType", "TensorIOMode", "TensorLocation", "LayerInformationFormat",
)  # fmt: skip


def _running(trt: Any, state: Any, version: str) -> dict[str, Any]:
    modern = int(version.split(".")[0]) >= 10

    def may_fail() -> bool:
        state.calls += 1
        return bool(state.calls - 1 == state.fail_at)

    class ILogger:
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

        def __init__(self) -> None:
            self._ready = True

    class Logger(ILogger):
        def log(self, severity: int, message: str) -> None:
            pass

    def init_libnvinfer_plugins(logger: Any, namespace: str) -> bool:
        return True

    class IOutputAllocator:
        def __init__(self) -> None:
            self._ready = True

    class Runtime(_Strict):
        def __init__(self, logger: Any) -> None:
            if not getattr(logger, "_ready", False):
                raise TypeError("the logger's own __init__ was not called")
            self._logger = logger

        def deserialize_cuda_engine(self, content: bytes) -> Any:
            plan = bytes(memoryview(content))
            header, digest, rest = plan[:28], plan[28:60], plan[60:]
            if header != write_plan(version, b"")[:28] or hashlib.sha256(rest).digest() != digest or may_fail():
                self._logger.log(trt.ILogger.ERROR, "Error Code 4: the plan file is corrupted or of another version")
                return None
            profile, _, model = rest.partition(b"\n")
            return ICudaEngine(self._logger, model, json.loads(profile))

    class ICudaEngine(_Strict):
        def __init__(self, logger: Any, model: bytes, profile: dict[str, Any]) -> None:
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            self._logger, self._profile = logger, profile
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            self._inputs = {tensor.name: tensor for tensor in self._session.get_inputs()}
            self._outputs = {tensor.name: tensor for tensor in self._session.get_outputs()}
            self._tensors = {**self._inputs, **self._outputs}

        @property
        def num_io_tensors(self) -> int:
            return len(self._tensors)

        def get_tensor_name(self, index: int) -> str:
            return str(list(self._tensors)[index])

        def get_tensor_mode(self, name: str) -> Any:
            return trt.TensorIOMode.INPUT if name in self._inputs else trt.TensorIOMode.OUTPUT

        def get_tensor_location(self, name: str) -> Any:
            return trt.TensorLocation.DEVICE

        def get_tensor_dtype(self, name: str) -> Any:
            kind = _KINDS[self._tensors[name].type]
            # Version 8 knows no int64 and binds such tensors as int32.
            return trt.DataType["INT32" if kind == "INT64" and not modern else kind]

        def get_tensor_shape(self, name: str) -> Dims:
            return Dims([size if isinstance(size, int) else -1 for size in self._tensors[name].shape])

        def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
            if name not in self._inputs:
                raise RuntimeError("profiles are of inputs alone")
            return [Dims(shape) for shape in self._profile.get(name, [tuple(self.get_tensor_shape(name))] * 3)]

        def create_execution_context(self) -> Any:
            return None if may_fail() else IExecutionContext(self)

        def create_engine_inspector(self) -> Any:
            return EngineInspector(self)

    class EngineInspector(_Strict):
        def __init__(self, engine: Any) -> None:
            self._engine = engine

        def get_engine_information(self, kind: Any) -> str:
            if kind != trt.LayerInformationFormat.JSON:
                raise RuntimeError("only JSON is imitated")
            return json.dumps({"Layers": [], "I/O Tensors" if int(version.split(".")[0]) >= 11 else "Bindings": []})

    class IExecutionContext(_Strict):
        def __init__(self, engine: Any) -> None:
            self._engine = engine
            self._addresses: dict[str, int] = {}
            self._allocators: dict[str, Any] = {}
            self._shapes: dict[str, Any] = {}
            for name in engine._inputs:
                shape = tuple(engine.get_tensor_shape(name))
                self._shapes[name] = shape if -1 not in shape else None
            self._ran = False

        def set_input_shape(self, name: str, shape: Any) -> bool:
            if name not in self._shapes or may_fail():
                return False
            least, _, most = (tuple(s) for s in self._engine.get_tensor_profile_shape(name, 0))
            fits = len(shape) == len(least) and all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True))
            if fits:
                self._shapes[name] = tuple(shape)
            return fits

        def get_tensor_shape(self, name: str) -> Dims:
            if name in self._shapes:
                return Dims(self._shapes[name] or self._engine.get_tensor_shape(name))
            bound: dict[str, int] = {}
            for own, tensor in self._engine._inputs.items():
                known = self._shapes[own] or ()
                bound |= {dim: size for dim, size in zip(tensor.shape, known, strict=False) if isinstance(dim, str)}
            return Dims([bound.get(d, -1) if isinstance(d, str) else -1 if d is None else d
                         for d in self._engine._outputs[name].shape])  # fmt: skip

        def set_tensor_address(self, name: str, memory: int) -> bool:
            if name not in self._engine._tensors or not memory or may_fail():
                return False
            self._addresses[name] = memory
            return True

        def set_output_allocator(self, name: str, output_allocator: Any) -> bool:
            if name not in self._engine._outputs or may_fail():
                return False
            if not getattr(output_allocator, "_ready", False):
                raise TypeError("the allocator's own __init__ was not called")
            self._allocators[name] = output_allocator
            return True

        def execute_async_v3(self, stream_handle: int) -> bool:
            library = state.library
            capturing = library.fake_capturing(ctypes.c_void_p(stream_handle))
            if may_fail() or None in self._shapes.values() or not stream_handle:
                return False
            if capturing and (self._allocators or not self._ran):
                return False
            addresses = dict(self._addresses)
            for name in self._engine._tensors:
                if name in self._allocators:
                    addresses[name] = self._allocated(name, stream_handle)
                    if not addresses[name]:
                        return False
                elif name not in addresses or library.fake_check(ctypes.c_void_p(addresses[name]), self._nbytes(name)):
                    return False
            self._ran = True
            number = len(state.works)
            state.works[number] = _WORK(lambda _: self._work(addresses, dict(self._shapes)))
            return bool(library.fake_enqueue(ctypes.c_void_p(stream_handle), state.works[number], number) == 0)

        def _allocated(self, name: str, stream: int) -> int:
            sizes = [MOST_ROWS if size < 0 else size for size in self.get_tensor_shape(name)]
            size, allocator = int(np.prod(sizes)) * self._dtype(name).itemsize, self._allocators[name]
            if modern:
                return int(allocator.reallocate_output_async(name, 0, size, 256, stream))
            return int(allocator.reallocate_output(name, 0, size, 256))

        def _dtype(self, name: str) -> np.dtype[Any]:
            return np.dtype(_NUMPY[self._engine.get_tensor_dtype(name).name])

        def _nbytes(self, name: str) -> int:
            return int(np.prod(tuple(self.get_tensor_shape(name)), dtype=np.int64)) * self._dtype(name).itemsize

        def _work(self, addresses: dict[str, int], shapes: dict[str, Any]) -> int:
            """What the GPU does when the stream comes to it; an exception here would be lost, so it is a breach."""
            try:
                feeds = {name: self._read(name, addresses[name], shape) for name, shape in shapes.items()}
                names = list(self._engine._outputs)
                for name, value in zip(names, self._engine._session.run(names, feeds), strict=True):
                    self._write(name, addresses[name], value)
                    if name in self._allocators:
                        self._allocators[name].notify_shape(name, Dims(value.shape))
            except Exception as err:  # noqa: BLE001
                return int(state.library.fake_breach(str(err).encode()[:200]))
            return 0

        def _read(self, name: str, address: int, shape: Any) -> npt.NDArray[Any]:
            size = int(np.prod(shape)) * self._dtype(name).itemsize
            if state.library.fake_check(ctypes.c_void_p(address), size):
                raise RuntimeError(f"input {name} was freed")
            content = np.frombuffer(ctypes.string_at(address, size), self._dtype(name)).reshape(shape)
            return content.astype(np.int64) if self._engine._inputs[name].type == "tensor(int64)" else content

        def _write(self, name: str, address: int, value: npt.NDArray[Any]) -> None:
            content = np.ascontiguousarray(value.astype(self._dtype(name))).tobytes()
            if content and state.library.fake_check(ctypes.c_void_p(address), len(content)):
                raise RuntimeError(f"output {name} was freed")
            ctypes.memmove(address, content, len(content))

    kinds = (ILogger, Logger, IOutputAllocator, Runtime, ICudaEngine, EngineInspector, IExecutionContext)
    return {**{kind.__name__: kind for kind in kinds}, "init_libnvinfer_plugins": init_libnvinfer_plugins}


def _building(trt: Any, state: Any, version: str) -> dict[str, Any]:
    major = int(version.split(".")[0])

    class Builder(_Strict):
        def __init__(self, logger: Any) -> None:
            self._logger = logger

        def create_network(self, flags: int = 0) -> Any:
            if major < 10 and not flags & 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH):
                raise RuntimeError("implicit batches are not imitated")
            return INetworkDefinition()

        def create_builder_config(self) -> Any:
            return IBuilderConfig()

        def create_optimization_profile(self) -> Any:
            return IOptimizationProfile()

        def build_serialized_network(self, network: Any, config: Any) -> Any:
            _misfortune(os.environ.get("FAKE_TENSORRT_BUILD", ""))
            if getattr(config, "progress_monitor", None) is not None:
                for phase, steps in (("Building engine", 4), ("Tactic selection", 2)):
                    config.progress_monitor.phase_start(phase, None, steps)
                    for step in range(steps):
                        config.progress_monitor.step_complete(phase, step)
                    config.progress_monitor.phase_finish(phase)
            if "none" == os.environ.get("FAKE_TENSORRT_BUILD") or not config._workspace or state.builds_nothing:
                self._logger.log(trt.ILogger.ERROR, "Error Code 10: could not find any implementation for node conv")
                return None
            place = getattr(config, "default_device_type", None)
            state.place = ("GPU" if place is None else place.name, getattr(config, "DLA_core", -1))
            profile = config._profiles[0]._shapes if config._profiles else {}
            return write_plan(version, network._model.SerializeToString(), profile)

    class INetworkDefinition(_Strict):
        def __init__(self) -> None:
            self._model = onnx.ModelProto()

        @property
        def num_inputs(self) -> int:
            return len(self._model.graph.input)

        def get_input(self, index: int) -> Any:
            tensor = self._model.graph.input[index]
            dims = tensor.type.tensor_type.shape.dim
            return SimpleNamespace(
                name=tensor.name, shape=Dims([d.dim_value if d.HasField("dim_value") else -1 for d in dims])
            )

    class OnnxParser(_Strict):
        def __init__(self, network: Any, logger: Any) -> None:
            self._network = network
            self._errors: list[Any] = []

        @property
        def num_errors(self) -> int:
            return len(self._errors)

        def parse(self, content: bytes, path: str | None = None) -> bool:
            try:
                model = onnx.load_model_from_string(content)
            except Exception:  # noqa: BLE001  (protobuf's errors have no common base)
                self._errors = [ParserError("Failed to parse ONNX model from bytes", "", "")]
                return False
            self._errors = [
                ParserError(f"Unsupported operator {node.op_type}", node.name, node.op_type)
                for node in model.graph.node
                if node.op_type == "Unique"
            ]
            self._network._model = model
            return not self._errors

        def get_error(self, index: int) -> Any:
            return self._errors[index]

    class ParserError(_Strict):
        def __init__(self, text: str, name: str, operator: str) -> None:
            self._text, self._name, self._operator = text, name, operator

        def desc(self) -> str:
            return self._text

        def node(self) -> int:
            return 0

        def node_name(self) -> str:
            return self._name

        def node_operator(self) -> str:
            return self._operator

    class IOptimizationProfile(_Strict):
        def __init__(self) -> None:
            self._shapes: dict[str, Any] = {}

        def set_shape(self, name: str, least: Any, usual: Any, most: Any) -> None:
            self._shapes[name] = [list(least), list(usual), list(most)]

    class IBuilderConfig(_Strict):
        settings = (
            "builder_optimization_level", "profiling_verbosity", "hardware_compatibility_level", "default_device_type",
            "DLA_core", "progress_monitor",
        )  # fmt: skip

        def __init__(self) -> None:
            self._profiles: list[Any] = []
            self._workspace = 0

        def set_memory_pool_limit(self, pool: Any, size: int) -> None:
            self._workspace = size

        def set_flag(self, flag: Any) -> None:
            if flag not in trt.BuilderFlag:
                raise TypeError(f"{flag} is no flag")
            state.flags.append(flag.name)

        def add_optimization_profile(self, profile: Any) -> int:
            self._profiles.append(profile)
            return len(self._profiles) - 1

        def create_timing_cache(self, content: bytes) -> Any:
            return ITimingCache(content)

        def set_timing_cache(self, cache: Any, *, ignore_mismatch: bool) -> bool:
            return True

    class ITimingCache(_Strict):
        def __init__(self, content: bytes) -> None:
            self._content = content

        def serialize(self) -> bytes:
            return self._content + b"timed;"

    class IProgressMonitor:
        def __init__(self) -> None:
            self._ready = True

    kinds = (Builder, INetworkDefinition, OnnxParser, ParserError, IOptimizationProfile, IBuilderConfig, ITimingCache)
    return {**{kind.__name__: kind for kind in kinds}, "IProgressMonitor": IProgressMonitor}


def _misfortune(what: str) -> None:
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif what == "full":
        raise OSError(28, "No space left on device")
    elif what == "memory":
        raise MemoryError
    elif what == "hang":
        time.sleep(60)
