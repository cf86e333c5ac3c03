"""Run an engine: numpy in, numpy out, by the interface that names tensors (TensorRT 8.5 to 11). TensorRT and CUDA are handed in."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgewright.runtime.backends import Setting, Tensors, check_feeds
from edgewright.runtime.errors import BackendError
from edgewright.runtime.spec import DType, TensorSpec
from edgewright.runtime.tensorrt.allocator import Allocator, allocator_type
from edgewright.runtime.tensorrt.build import version_of
from edgewright.runtime.tensorrt.cuda import Buffer, Cuda, Graph, Stream
from edgewright.runtime.tensorrt.engine_file import check_plan
from edgewright.runtime.tensorrt.interface import TensorRt, sizes_of

if TYPE_CHECKING:
    from edgewright.runtime.tensorrt.interface import tensorrt

# Names of TensorRT's DataType; the numbers of the rest (BF16, FP8, INT4, ...) numpy cannot hold.
_DTYPES: dict[str, DType] = {
    "FLOAT": "float32", "HALF": "float16", "INT8": "int8", "UINT8": "uint8",
    "INT32": "int32", "INT64": "int64", "BOOL": "bool",
}  # fmt: skip
Shape = tuple[int, ...]


@dataclass(frozen=True)
class _Port:
    """An input or output of the engine; `most` is its largest shape, None where the data decide."""

    name: str
    dtype: DType
    shape: Shape
    most: Shape | None

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec(name=self.name, shape=self.shape, dtype=self.dtype)

    def nbytes(self, shape: Shape) -> int:
        return int(np.prod(shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    def view(self, buffer: Buffer, shape: Shape) -> npt.NDArray[Any]:
        return buffer.host[: self.nbytes(shape)].view(self.dtype).reshape(shape)


class EngineRunner:
    """An engine in GPU memory, with buffers for its largest shapes. Not for several threads at once.

    `said` gives TensorRT's last words, which it writes to its log alone. With `graphs` an engine of static shapes is captured as
    a CUDA graph in its second run (not on a DLA, which cannot be captured).
    """

    # The file that the engine was read from, for trtexec to time it alone.
    engine_path: Path | None = None

    def __init__(
        self,
        trt: TensorRt,
        cuda: Cuda,
        logger: "tensorrt.ILogger",
        engine: bytes,
        *,
        said: Callable[[], str] = lambda: "",
        graphs: bool = True,
    ) -> None:
        check_plan(engine, version_of(trt))
        self._trt, self._cuda, self._said = trt, cuda, said
        self._graph: Graph | None = None
        self._buffers: dict[str, Buffer] = {}
        self._allocators: dict[str, Allocator] = {}
        self._shapes: dict[str, Shape] = {}
        self._runs = 0
        with ExitStack() as stack:
            self._stream = Stream(cuda)
            stack.callback(self._stream.close)
            stack.callback(self._forget)
            self._load(logger, engine)
            self._allocate()
            self._resources = stack.pop_all()
        self._graphs = graphs and not self._allocators and all(-1 not in port.shape for port in self._inputs)
        self.settings: dict[str, Setting] = {
            "engine": "tensorrt",
            "engine_version": str(trt.__version__),
            "cuda": cuda.version,
            "zero_copy": cuda.zero_copy,
            "cuda_graph": self._graphs,
        }

    def infer(self, feeds: Tensors) -> dict[str, npt.NDArray[Any]]:
        """The outputs by name; the next call overwrites them."""
        feeds = {name: _narrowed(array, self.inputs, name) for name, array in feeds.items()}
        check_feeds(feeds, self.inputs)
        for port in self._inputs:
            self._feed(port, feeds[port.name])
        try:
            self._run()
            self._stream.synchronize()
            self._fetch_open_outputs()
        except BaseException:
            self._stream.settle()
            raise
        self._runs += 1
        return {port.name: self._output(port) for port in self._outputs}

    def layers(self) -> str:
        """What TensorRT's inspector says of the engine's layers, as JSON; BackendError when it says nothing."""
        inspector = self._engine.create_engine_inspector()
        text = inspector.get_engine_information(self._trt.LayerInformationFormat.JSON) if inspector else ""
        if not text:
            raise BackendError(f"TensorRT tells nothing of the engine's layers{self._words()}; build it again")
        return str(text)

    def close(self) -> None:
        """Free everything; a second call does nothing. Arrays that `infer` returned stay readable."""
        self._resources.close()

    def __enter__(self) -> "EngineRunner":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _load(self, logger: "tensorrt.ILogger", content: bytes) -> None:
        trt = self._trt
        # Plugins, as for RoiAlign, must be known before an engine that holds one is read.
        trt.init_libnvinfer_plugins(logger, "")
        self._runtime = trt.Runtime(logger)
        self._engine = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise BackendError(f"TensorRT cannot read the engine{self._words()}; build it again on this device")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise BackendError(
                f"TensorRT has no room to run the engine{self._words()}; close other programs on the GPU, or build with a smaller input"
            )

    def _allocate(self) -> None:
        engine = self._engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        of_inputs = [name for name in names if engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT]
        self._inputs = [self._input_port(name) for name in of_inputs]
        self._outputs = [self._output_port(name) for name in names if name not in of_inputs]
        self.inputs = tuple(port.spec for port in self._inputs)
        self.outputs = tuple(port.spec for port in self._outputs)
        for port in (*self._inputs, *self._outputs):
            self._bind(port)

    def _input_port(self, name: str) -> _Port:
        dtype, shape = self._dtype(name), sizes_of(self._engine.get_tensor_shape(name))
        if self._engine.get_tensor_location(name) != self._trt.TensorLocation.DEVICE:
            raise BackendError(
                f"input '{name}' of the engine holds a shape, which is read on the processor; export with static shapes"
            )
        most = shape if -1 not in shape else self._range(name)[1]
        if -1 in shape and self._range(name)[0] == most:
            # Built for one size alone: as good as fixed.
            shape = most
        # The largest shapes of the inputs tell how large the outputs get.
        self._set_shape(name, most)
        return _Port(name, dtype, shape, most)

    def _output_port(self, name: str) -> _Port:
        most = sizes_of(self._context.get_tensor_shape(name))
        shape = sizes_of(self._engine.get_tensor_shape(name))
        if all(-1 not in port.shape for port in self._inputs) and -1 not in most:
            shape = most
        return _Port(name, self._dtype(name), shape, None if -1 in most else most)

    def _dtype(self, name: str) -> DType:
        kind = self._engine.get_tensor_dtype(name).name
        if kind not in _DTYPES:
            raise BackendError(
                f"'{name}' of the engine is of type {kind}; cast it inside the graph, and build it again"
            )
        return _DTYPES[kind]

    def _range(self, name: str) -> tuple[Shape, Shape]:
        """The least and the largest shape of an input with an open one."""
        least, _, most = self._engine.get_tensor_profile_shape(name, 0)
        return sizes_of(least), sizes_of(most)

    def _bind(self, port: _Port) -> None:
        if port.most is None:
            allocator = self._allocators[port.name] = allocator_type(self._trt)(self._cuda)
            if not self._context.set_output_allocator(port.name, allocator):
                raise BackendError(f"TensorRT takes no allocator for the output '{port.name}'{self._words()}")
            return
        buffer = self._buffers[port.name] = Buffer(self._cuda, port.nbytes(port.most))
        if not self._context.set_tensor_address(port.name, buffer.address):
            raise BackendError(
                f"TensorRT takes no buffer for '{port.name}'{self._words()}; build the engine again on this device"
            )

    def _feed(self, port: _Port, array: npt.NDArray[Any]) -> None:
        shape = tuple(array.shape)
        if self._shapes[port.name] != shape:
            least, most = self._range(port.name)
            if not all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True)):
                raise BackendError(
                    f"input '{port.name}' has shape {list(shape)}, the engine was built for {list(least)} to {list(most)}; build it for "
                    "that size"
                )
            self._set_shape(port.name, shape)
        np.copyto(port.view(self._buffers[port.name], shape), array)

    def _set_shape(self, name: str, shape: Shape) -> None:
        if not self._context.set_input_shape(name, shape):
            raise BackendError(f"TensorRT refuses the shape {list(shape)} of the input '{name}'{self._words()}")
        self._shapes[name] = shape

    def _run(self) -> None:
        """Enqueue copies and execution, as a graph from the second run on: the first allocates what cannot be captured."""
        if self._graphs and self._graph is None and self._runs > 0:
            try:
                self._graph = self._stream.capture(self._enqueue)
            except BackendError:
                # Some layers cannot be captured, which no property of the engine tells; without a graph they run.
                self._graphs = self.settings["cuda_graph"] = False
        if self._graph is not None:
            self._graph.launch(self._stream)
        else:
            self._enqueue()

    def _enqueue(self) -> None:
        filled = {port.name: port.nbytes(self._shape(port)) for port in self._outputs if port.most is not None}
        for name, size in filled.items():
            if size > self._buffers[name].size:
                raise BackendError(
                    f"output '{name}' takes {size} bytes, more than at the largest input; build it again"
                )
        for port in self._inputs:
            self._buffers[port.name].upload(self._stream, port.nbytes(self._shapes[port.name]))
        if not self._context.execute_async_v3(self._stream.handle):
            for allocator in self._allocators.values():
                allocator.raise_problem()
            raise BackendError(f"TensorRT could not run the engine{self._words()}; build it again on this device")
        for name, size in filled.items():
            self._buffers[name].download(self._stream, size)

    def _fetch_open_outputs(self) -> None:
        """Copy the outputs whose size is known only now."""
        for port in self._outputs:
            if port.most is None:
                allocator = self._allocators[port.name]
                allocator.buffer.download(self._stream, port.nbytes(allocator.shape))
        if self._allocators:
            self._stream.synchronize()

    def _output(self, port: _Port) -> npt.NDArray[Any]:
        if port.most is None:
            allocator = self._allocators[port.name]
            return port.view(allocator.buffer, allocator.shape)
        return port.view(self._buffers[port.name], self._shape(port))

    def _shape(self, port: _Port) -> Shape:
        return port.shape if -1 not in port.shape else sizes_of(self._context.get_tensor_shape(port.name))

    def _forget(self) -> None:
        """Free in the order of dependence: the graph uses the context, it the engine, and all of them the buffers."""
        if self._graph is not None:
            self._graph.close()
        self._graph = None
        for name in ("_context", "_engine", "_runtime"):
            self.__dict__.pop(name, None)
        for buffer in self._buffers.values():
            buffer.close()
        for allocator in self._allocators.values():
            allocator.close()
        self._buffers, self._allocators = {}, {}

    def _words(self) -> str:
        said = self._said()
        return f" ({said})" if said else ""


def _narrowed(array: npt.NDArray[Any], inputs: tuple[TensorSpec, ...], name: str) -> npt.NDArray[Any]:
    """int64 as int32 where the engine wants that: TensorRT 8 knows no int64 and binds such inputs so."""
    wanted = next((spec.dtype for spec in inputs if spec.name == name), None)
    if wanted != "int32" or array.dtype != np.int64:
        return array
    narrow = array.astype(np.int32)
    if not np.array_equal(narrow, array):
        raise BackendError(f"input '{name}' holds numbers beyond 32 bits, which TensorRT 8 cannot take")
    return narrow
