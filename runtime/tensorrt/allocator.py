"""Memory for outputs whose size only the data tell, as that of NonMaxSuppression: TensorRT asks for it while it runs."""

from typing import TYPE_CHECKING, Any, Protocol

from edgewright.runtime.tensorrt.cuda import Buffer, Cuda, CudaError
from edgewright.runtime.tensorrt.interface import TensorRt, sizes_of

if TYPE_CHECKING:
    from edgewright.runtime.tensorrt.interface import tensorrt

Shape = tuple[int, ...]


class Allocator(Protocol):
    """What TensorRT is handed for one output: after a run `buffer` holds it, in `shape`."""

    buffer: Buffer
    shape: Shape

    def raise_problem(self) -> None:
        """The error that TensorRT was told of by a null pointer alone."""
        ...

    def close(self) -> None: ...


def allocator_type(trt: TensorRt) -> Any:
    """A subclass of TensorRT's IOutputAllocator, made with a `Cuda`; it keeps its memory and grows it."""

    base: Any = trt.IOutputAllocator

    class OutputAllocator(base):  # type: ignore[misc]
        def __init__(self, cuda: Cuda) -> None:
            trt.IOutputAllocator.__init__(self)
            self._cuda = cuda
            self.buffer = Buffer(cuda, 1)
            self.shape: Shape = (0,)
            self._problem: CudaError | None = None

        # TensorRT 8 calls this one, from 10 on the other.
        def reallocate_output(self, tensor_name: str, memory: int, size: int, alignment: int) -> int:
            try:
                self._grow(size)
            except CudaError as err:
                # An exception cannot pass through TensorRT; a null pointer tells it to stop.
                self._problem = err
                return 0
            return self.buffer.address

        def reallocate_output_async(self, tensor_name: str, memory: int, size: int, alignment: int, stream: int) -> int:
            return self.reallocate_output(tensor_name, memory, size, alignment)

        def notify_shape(self, tensor_name: str, shape: "tensorrt.Dims") -> None:
            self.shape = sizes_of(shape)

        def raise_problem(self) -> None:
            problem, self._problem = self._problem, None
            if problem is not None:
                raise problem

        def close(self) -> None:
            self.buffer.close()

        def _grow(self, size: int) -> None:
            if size > self.buffer.size:
                larger = Buffer(self._cuda, size)
                self.buffer.close()
                self.buffer = larger

    return OutputAllocator
