"""Memory, copies, streams and graphs of CUDA through ctypes: no package but libcudart, which every JetPack has."""

import ctypes
import logging
import os
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.runtime.errors import BackendError
from edgewright.runtime.tensorrt.driver import OTHERWISE, cuda_version

_LOG = logging.getLogger(__name__)
_TO_DEVICE, _TO_HOST = 1, 2  # cudaMemcpyKind
_MAPPED = 2  # cudaHostAllocMapped
_NON_BLOCKING = 1  # cudaStreamNonBlocking
_THREAD_LOCAL = 1  # cudaStreamCaptureModeThreadLocal
_MAPS_HOST_MEMORY, _INTEGRATED = 19, 18  # cudaDeviceAttr
_POINTER, _SIZE, _INT, _UNSIGNED = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_uint
_OUT = ctypes.POINTER(ctypes.c_void_p)
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cudaRuntimeGetVersion": (ctypes.POINTER(_INT),),
    "cudaDeviceGetAttribute": (ctypes.POINTER(_INT), _INT, _INT),
    "cudaMalloc": (_OUT, _SIZE),
    "cudaFree": (_POINTER,),
    "cudaHostAlloc": (_OUT, _SIZE, _UNSIGNED),
    "cudaFreeHost": (_POINTER,),
    "cudaHostGetDevicePointer": (_OUT, _POINTER, _UNSIGNED),
    "cudaMemcpyAsync": (_POINTER, _POINTER, _SIZE, _INT, _POINTER),
    "cudaStreamCreateWithFlags": (_OUT, _UNSIGNED),
    "cudaStreamSynchronize": (_POINTER,),
    "cudaStreamDestroy": (_POINTER,),
    "cudaStreamBeginCapture": (_POINTER, _INT),
    "cudaStreamEndCapture": (_POINTER, _OUT),
    # The form that is the same from CUDA 11.4 to 13; cudaGraphInstantiate itself changed in 12.
    "cudaGraphInstantiateWithFlags": (_OUT, _POINTER, ctypes.c_ulonglong),
    "cudaGraphLaunch": (_POINTER, _POINTER),
    "cudaGraphExecDestroy": (_POINTER,),
    "cudaGraphDestroy": (_POINTER,),
    "cudaGetLastError": (),
}
# cudaError_t in driver_types.h, with what helps.
_ADVICE = {
    2: "the GPU's memory is full; close other programs, or build with a smaller batch or input",
    35: "the driver is missing, or older than this CUDA runtime; update the driver, or install the runtime of its version",
    100: f"no NVIDIA GPU is seen; {OTHERWISE}",
    209: "the engine or its kernels are of another GPU; build the engine again on this device",
    700: "the engine reads or writes outside its buffers; build it again, and report it",
    719: "a kernel failed; build the engine again, and look into `dmesg`",
}


class CudaError(BackendError):
    """A call of CUDA that failed, with its number."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Cuda:
    """libcudart, every return code of which is checked; its device is the process's first."""

    def __init__(self, library: str | Path | None = None) -> None:
        self._library, self.path = _load(library)
        for name, arguments in _SIGNATURES.items():
            function = _function(self._library, name, self.path)
            function.argtypes, function.restype = arguments, _INT
        for name in ("cudaGetErrorName", "cudaGetErrorString"):
            function = _function(self._library, name, self.path)
            function.argtypes, function.restype = (_INT,), ctypes.c_char_p
        version = _INT()
        self.call("cudaRuntimeGetVersion", ctypes.byref(version))
        self.version = cuda_version(version.value)
        # On such a GPU, of a Jetson, the processor's memory is the GPU's: nothing is ever copied.
        self.zero_copy = bool(self._attribute(_INTEGRATED) and self._attribute(_MAPS_HOST_MEMORY))

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of CUDA; CudaError with the error's name and what helps."""
        code = getattr(self._library, name)(*arguments)
        if code != 0:
            # CUDA repeats an error at the next call that asks, unless it is fetched.
            self._library.cudaGetLastError()
            raise CudaError(f"{name} failed: {self._words(code)}; {_ADVICE.get(code, OTHERWISE)}", code)

    def release(self, name: str, *arguments: Any) -> None:
        """As `call` for what frees: a failure is logged, since another error is on its way or nobody can mend it."""
        code = getattr(self._library, name)(*arguments)
        if code != 0:
            self._library.cudaGetLastError()
            _LOG.warning("%s failed: %s", name, self._words(code))

    def _words(self, code: int) -> str:
        name, text = self._library.cudaGetErrorName(code), self._library.cudaGetErrorString(code)
        return f"{(name or b'?').decode()} ({code}), {(text or b'?').decode()}"

    def _attribute(self, number: int) -> int:
        value = _INT()
        self.call("cudaDeviceGetAttribute", ctypes.byref(value), number, 0)
        return value.value


class Buffer:
    """Bytes that the processor writes and reads at `host` and the GPU at `address`.

    With zero copy both are one piece of mapped memory. Otherwise `host` is pinned, and `upload` and `download` enqueue copies,
    done when the stream is synchronized. Views of `host` stay valid after `close`: its memory goes with the last of them.
    """

    def __init__(self, cuda: Cuda, size: int) -> None:
        self._cuda, self.size = cuda, max(size, 1)
        self._memory, self.address = ctypes.c_void_p(), 0
        self.host = _host_memory(cuda, self.size)
        try:
            if cuda.zero_copy:
                mapped = ctypes.c_void_p()
                cuda.call("cudaHostGetDevicePointer", ctypes.byref(mapped), self.host.ctypes.data, 0)
                self.address = mapped.value or 0
            else:
                cuda.call("cudaMalloc", ctypes.byref(self._memory), self.size)
                self.address = self._memory.value or 0
        except BaseException:
            self.close()
            raise

    def upload(self, stream: "Stream", size: int) -> None:
        """Enqueue the copy of the first `size` bytes to the GPU."""
        if not self._cuda.zero_copy:
            self._copy(self.address, self.host.ctypes.data, size, _TO_DEVICE, stream)

    def download(self, stream: "Stream", size: int) -> None:
        """Enqueue the copy of the first `size` bytes from the GPU."""
        if not self._cuda.zero_copy:
            self._copy(self.host.ctypes.data, self.address, size, _TO_HOST, stream)

    def close(self) -> None:
        """Free the GPU's side; a second call does nothing."""
        self.host = np.empty(0, np.uint8)
        if self._memory.value:
            self._cuda.release("cudaFree", self._memory)
            self._memory = ctypes.c_void_p()

    def _copy(self, target: int, source: int, size: int, kind: int, stream: "Stream") -> None:
        if size > self.size:
            raise BackendError(f"a copy of {size} bytes does not fit its buffer of {self.size}")
        if size:
            self._cuda.call("cudaMemcpyAsync", target, source, size, kind, stream.handle)


class Stream:
    """A queue of work of its own: TensorRT waits for the whole device on CUDA's default stream."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda, self._stream = cuda, ctypes.c_void_p()
        cuda.call("cudaStreamCreateWithFlags", ctypes.byref(self._stream), _NON_BLOCKING)

    @property
    def handle(self) -> int:
        return self._stream.value or 0

    def synchronize(self) -> None:
        """Wait until everything enqueued is done; CudaError for what failed meanwhile."""
        self._cuda.call("cudaStreamSynchronize", self._stream)

    def settle(self) -> None:
        """As `synchronize`, after a failure: what was enqueued must not write into memory that is used again."""
        self._cuda.release("cudaStreamSynchronize", self._stream)

    def capture(self, work: Callable[[], None]) -> "Graph":
        """A graph of what `work` enqueues, which is not executed now. The stream captures no more in any case."""
        self._cuda.call("cudaStreamBeginCapture", self._stream, _THREAD_LOCAL)
        graph = ctypes.c_void_p()
        try:
            work()
        except BaseException:
            self._cuda.release("cudaStreamEndCapture", self._stream, ctypes.byref(graph))
            if graph.value:
                self._cuda.release("cudaGraphDestroy", graph)
            raise
        self._cuda.call("cudaStreamEndCapture", self._stream, ctypes.byref(graph))
        return Graph(self._cuda, graph)

    def close(self) -> None:
        """Destroy the stream; a second call does nothing."""
        if self._stream.value:
            self._cuda.release("cudaStreamDestroy", self._stream)
            self._stream = ctypes.c_void_p()


class Graph:
    """Captured work that is enqueued again by one call. Takes the capture over and destroys it."""

    def __init__(self, cuda: Cuda, captured: ctypes.c_void_p) -> None:
        self._cuda, self._graph = cuda, ctypes.c_void_p()
        try:
            cuda.call("cudaGraphInstantiateWithFlags", ctypes.byref(self._graph), captured, 0)
        finally:
            cuda.release("cudaGraphDestroy", captured)

    def launch(self, stream: Stream) -> None:
        self._cuda.call("cudaGraphLaunch", self._graph, stream.handle)

    def close(self) -> None:
        """Destroy the graph; a second call does nothing."""
        if self._graph.value:
            self._cuda.release("cudaGraphExecDestroy", self._graph)
            self._graph = ctypes.c_void_p()


def library_candidates() -> Iterator[str]:
    """Where libcudart may lie, best first: LD_LIBRARY_PATH and the system, /usr/local/cuda, wheels."""
    names = ("libcudart.so", "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0")
    for folder in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep):
        yield from (str(path) for name in names if folder and (path := Path(folder) / name).is_file())
    yield from names
    for place in ("lib64", "targets/aarch64-linux/lib", "targets/x86_64-linux/lib"):
        yield from (str(path) for name in names if (path := Path("/usr/local/cuda") / place / name).is_file())
    spec = find_spec("nvidia")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        for place in ("cu13/lib", "cuda_runtime/lib"):
            yield from (str(path) for name in names if (path := Path(root) / place / name).is_file())


def _load(library: str | Path | None) -> tuple[ctypes.CDLL, str]:
    """libcudart: the one that is loaded already, so that TensorRT and this file share it; else the first that loads."""
    wanted = [str(library)] if library is not None else [*_loaded(), *library_candidates()]
    for path in wanted:
        with suppress(OSError):
            return ctypes.CDLL(path), path
    raise BackendError(
        f"the CUDA runtime is not found ({library or 'libcudart.so'}); on a Jetson install the package cuda-cudart of its CUDA "
        "version, elsewhere `pip install nvidia-cuda-runtime`, or put its folder into LD_LIBRARY_PATH"
    )


def _loaded() -> list[str]:
    if not sys.platform.startswith("linux"):
        return []
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return sorted({line.split(maxsplit=5)[5] for line in lines if "/libcudart.so" in line})


def _function(library: ctypes.CDLL, name: str, path: str) -> Any:
    try:
        return getattr(library, name)
    except AttributeError as err:
        raise BackendError(f"{path} has no {name}; CUDA 11.4 (JetPack 5) or newer is needed") from err


def _host_memory(cuda: Cuda, size: int) -> npt.NDArray[np.uint8]:
    """Pinned, mapped memory that is freed when no array looks at it any more."""
    memory = ctypes.c_void_p()
    cuda.call("cudaHostAlloc", ctypes.byref(memory), size, _MAPPED)
    content = (ctypes.c_uint8 * size).from_address(memory.value or 0)
    # At the end of the process the driver may be gone before this would run, and frees everything itself.
    weakref.finalize(content, cuda.release, "cudaFreeHost", memory).atexit = False
    # The array keeps `content`, and a view keeps the array.
    host: npt.NDArray[np.uint8] = np.ctypeslib.as_array(content)
    return host
