"""The part of TensorRT's Python interface that is used here, as types: pyright compares them with NVIDIA's stubs (scripts/check)."""

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import tensorrt as tensorrt  # for the other files, so that none of them imports it


class TensorRt(Protocol):
    """The module of TensorRT in any version, or what stands for it: TensorRT-RTX, or an imitation.

    What some version lacks is used behind a guard (tests/runtime/test_tensorrt_names.py).
    """

    __name__: str
    __version__: str

    Builder: "type[tensorrt.Builder]"
    BuilderFlag: "type[tensorrt.BuilderFlag]"
    DeviceType: "type[tensorrt.DeviceType]"
    HardwareCompatibilityLevel: "type[tensorrt.HardwareCompatibilityLevel]"
    ILogger: "type[tensorrt.ILogger]"
    IOutputAllocator: "type[tensorrt.IOutputAllocator]"
    IProgressMonitor: "type[tensorrt.IProgressMonitor]"
    LayerInformationFormat: "type[tensorrt.LayerInformationFormat]"
    MemoryPoolType: "type[tensorrt.MemoryPoolType]"
    NetworkDefinitionCreationFlag: "type[tensorrt.NetworkDefinitionCreationFlag]"
    OnnxParser: "type[tensorrt.OnnxParser]"
    ProfilingVerbosity: "type[tensorrt.ProfilingVerbosity]"
    Runtime: "type[tensorrt.Runtime]"
    TensorIOMode: "type[tensorrt.TensorIOMode]"
    TensorLocation: "type[tensorrt.TensorLocation]"

    def init_libnvinfer_plugins(self, logger: Any, namespace: str) -> bool: ...


def content_of(memory: "tensorrt.IHostMemory") -> bytes:
    """The bytes in TensorRT's memory, which has the buffer protocol; its stubs do not say so."""
    buffer: Any = memory
    return bytes(memoryview(buffer))


def sizes_of(shape: "tensorrt.Dims") -> tuple[int, ...]:
    """A shape as numbers; TensorRT's Dims is a sequence, which its stubs do not say."""
    sizes: Any = shape
    return tuple(int(size) for size in sizes)


def dims(sizes: tuple[int, ...]) -> "tensorrt.Dims":
    """A shape for TensorRT, which takes any sequence; its stubs want their own class."""
    shape: Any = sizes
    return shape
