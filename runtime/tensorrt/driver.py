"""The NVIDIA driver and its GPUs, asked through libcuda alone: TensorRT without a driver ends the process instead of an error."""

import ctypes
import sys
from dataclasses import dataclass

from edgewright.runtime.errors import BackendError

# The library that the driver brings; on WSL and in containers it is mounted under the same name.
LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
OTHERWISE = "run on the processor with --backend ort or --backend ov"

# CUdevice_attribute in cuda.h; these numbers have not changed since CUDA 2.
_MULTIPROCESSORS, _INTEGRATED, _MAJOR, _MINOR = 16, 18, 75, 76
_NAME_BYTES = 256
# CUresult in cuda.h, with what helps.
_ADVICE = {
    100: "the driver sees no NVIDIA GPU; check CUDA_VISIBLE_DEVICES, and start a container with --gpus all or --runtime nvidia",
    101: "CUDA_VISIBLE_DEVICES names a GPU that is not there",
    803: "the driver's user library and its kernel module are of different versions; reboot, or reinstall the driver",
    804: "the CUDA compatibility package does not fit this GPU; remove it from LD_LIBRARY_PATH",
    999: "the driver is in an unknown state; look into `dmesg`, and reboot",
}  # fmt: skip


@dataclass(frozen=True)
class Gpu:
    """One GPU: `sm` is its compute capability (87: 8.7); an integrated one shares `memory_bytes` with the processor."""

    name: str
    sm: int
    multiprocessors: int
    integrated: bool
    memory_bytes: int


@dataclass(frozen=True)
class Driver:
    """A driver that works: the newest CUDA that it runs, and at least one GPU."""

    cuda: str
    gpus: tuple[Gpu, ...]


def preflight(library: str = LIBRARY) -> Driver:
    """The driver of this machine; BackendError that says what is missing and how to go on without. TensorRT is not touched."""
    try:
        cuda = ctypes.CDLL(library)
    except OSError as err:
        raise BackendError(
            f"there is no NVIDIA driver on this machine ({library} is not found), which TensorRT needs; {OTHERWISE}, or install the "
            "driver (in a container: start it with --gpus all or --runtime nvidia)"
        ) from err
    _check(cuda.cuInit(ctypes.c_uint(0)))
    count = _int(cuda.cuDeviceGetCount)
    if count < 1:
        _check(100)
    return Driver(cuda_version(_int(cuda.cuDriverGetVersion)), tuple(_gpu(cuda, index) for index in range(count)))


def cuda_version(number: int) -> str:
    """12060 as "12.6", as CUDA's own header counts."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _gpu(cuda: ctypes.CDLL, index: int) -> Gpu:
    device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_size_t()
    _check(cuda.cuDeviceGet(ctypes.byref(device), ctypes.c_int(index)))
    _check(cuda.cuDeviceGetName(name, ctypes.c_int(_NAME_BYTES), device))
    _check(cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device))

    def attribute(number: int) -> int:
        return _int(cuda.cuDeviceGetAttribute, ctypes.c_int(number), device)

    return Gpu(
        name=name.value.decode(errors="replace"),
        sm=attribute(_MAJOR) * 10 + attribute(_MINOR),
        multiprocessors=attribute(_MULTIPROCESSORS),
        integrated=bool(attribute(_INTEGRATED)),
        memory_bytes=memory.value,
    )


def _int(function: "ctypes._NamedFuncPointer", *arguments: object) -> int:
    value = ctypes.c_int()
    _check(function(ctypes.byref(value), *arguments))
    return value.value


def _check(code: int) -> None:
    if code != 0:
        advice = _ADVICE.get(code, "look up the number in CUDA's documentation of CUresult")
        raise BackendError(f"the NVIDIA driver does not work (CUDA error {code}): {advice}; {OTHERWISE}")
