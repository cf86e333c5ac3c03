"""ONNX Runtime on the CPU: the reference everywhere."""

import os
import sys
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy.typing as npt

# From 1.31 on, importing ONNX Runtime on Linux starts a thread that sends usage data, unless this is set before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

from edgewright.runtime.backends import BackendOptions, Setting, Tensors, check_feeds
from edgewright.runtime.cpu import usable_cores
from edgewright.runtime.errors import BackendError, first_line
from edgewright.runtime.spec import BATCH, DType, TensorSpec

_DTYPES: dict[str, DType] = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


def open_backend(path: Path, options: BackendOptions) -> "OrtBackend":
    """The ONNX file `path` in ONNX Runtime's CPU provider."""
    return OrtBackend(path, options)


class OrtBackend:
    """An InferenceSession on the CPU provider with every setting that matters set explicitly."""

    def __init__(self, path: Path, options: BackendOptions) -> None:
        threads = options.threads or usable_cores()
        self.streams = options.streams or threads
        # Spinning threads of ONNX Runtime take the cores that OpenVINO works on in the same process.
        spinning = "openvino" not in sys.modules
        config = onnxruntime.SessionOptions()
        config.intra_op_num_threads = max(1, threads // self.streams)
        config.inter_op_num_threads = 1
        config.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        config.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        if options.precision == "int8":
            # Every QuantizeLinear as it is written: fused and moved ones changed boxes by up to 12 pixels.
            config.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
            config.add_session_config_entry("session.disable_quant_qdq", "1")
        config.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
        config.log_severity_level = 3
        if options.batch is not None:
            config.add_free_dimension_override_by_name(BATCH, options.batch)
        try:
            self._session = onnxruntime.InferenceSession(str(path), config, providers=["CPUExecutionProvider"])
        except Exception as err:  # onnxruntime's exceptions share no base class below Exception
            raise BackendError(f"ONNX Runtime cannot load {path}: {first_line(err)}; export the bundle again") from err
        self.inputs = tuple(_spec(tensor, path) for tensor in self._session.get_inputs())
        self.outputs = tuple(_spec(tensor, path) for tensor in self._session.get_outputs())
        self._names = [tensor.name for tensor in self.outputs]
        self._callers = ThreadPoolExecutor(self.streams, thread_name_prefix="edgewright onnxruntime")
        self.settings: Mapping[str, Setting] = {
            "engine": "onnxruntime",
            "engine_version": onnxruntime.__version__,
            "provider": self._session.get_providers()[0],
            "threads": threads,
            **({"streams": self.streams} if self.streams > 1 else {}),
            "spinning": spinning,
            "executed_precision": options.precision,
        }

    def infer(self, feeds: Tensors) -> dict[str, npt.NDArray[Any]]:
        check_feeds(feeds, self.inputs)
        try:
            outputs = self._session.run(self._names, dict(feeds))
        except Exception as err:  # see above
            raise BackendError(f"ONNX Runtime failed: {first_line(err)}") from err
        return dict(zip(self._names, outputs, strict=True))

    def requests(self, count: int) -> "tuple[OrtRequest, ...]":
        """So many inferences, of which `streams` run at a time."""
        return tuple(OrtRequest(self, self._callers) for _ in range(count))

    def close(self) -> None:
        self._callers.shutdown(cancel_futures=True)
        del self._session

    def __enter__(self) -> "OrtBackend":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class OrtRequest:
    """One inference of several; see `runtime.lanes.Request`. A session can be called by several threads at once."""

    def __init__(self, backend: OrtBackend, callers: ThreadPoolExecutor) -> None:
        self._backend = backend
        self._callers = callers
        self._answer: Future[tuple[dict[str, npt.NDArray[Any]], float, float]] | None = None

    def start(self, feeds: Tensors, /) -> None:
        self._answer = self._callers.submit(self._timed, feeds)

    def wait(self) -> tuple[dict[str, npt.NDArray[Any]], float, float]:
        if self._answer is None:
            raise BackendError("there is no inference to wait for; start one first")
        return self._answer.result()

    def _timed(self, feeds: Tensors) -> tuple[dict[str, npt.NDArray[Any]], float, float]:
        start_s = time.perf_counter()
        outputs = self._backend.infer(feeds)
        return outputs, start_s, time.perf_counter()


def _spec(tensor: Any, path: Path) -> TensorSpec:
    if tensor.type not in _DTYPES:
        raise BackendError(
            f"{path}: '{tensor.name}' is a {tensor.type}, which is not supported; cast it inside the graph"
        )
    shape = tuple(-1 if dim is None else dim for dim in tensor.shape)
    return TensorSpec(name=tensor.name, shape=shape, dtype=_DTYPES[tensor.type])
