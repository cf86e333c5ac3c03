"""OpenVINO on the CPU."""

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy.typing as npt
import openvino

from edgewright.runtime.backends import BackendOptions, Setting, Tensors, check_feeds
from edgewright.runtime.cpu import usable_cores
from edgewright.runtime.errors import BackendError
from edgewright.runtime.spec import DType, TensorSpec

_DTYPES: dict[str, DType] = {
    "f32": "float32", "f16": "float16", "f64": "float64", "u8": "uint8",
    "i8": "int8", "i32": "int32", "i64": "int64", "boolean": "bool",
}  # fmt: skip
# The hint is always given: left alone, OpenVINO computes in bf16 on a CPU that has it, and boxes move.
_PRECISION_HINT = {"fp32": "f32", "int8": "f32", "fp16": "f16"}
_PRECISION_NAMES = {"f32": "fp32", "f16": "fp16"}


def open_backend(path: Path, options: BackendOptions) -> "OpenVinoBackend":
    """The ONNX or IR file `path` compiled by OpenVINO for the CPU."""
    return OpenVinoBackend(path, options)


class OpenVinoBackend:
    """A compiled model with one infer request, and more of them for streams; with one stream it is tuned for latency."""

    def __init__(self, path: Path, options: BackendOptions) -> None:
        config: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY" if options.streams == 1 else "THROUGHPUT",
            "NUM_STREAMS": "AUTO" if options.streams is None else options.streams,
            "INFERENCE_NUM_THREADS": options.threads or usable_cores(),
            "INFERENCE_PRECISION_HINT": _PRECISION_HINT[options.precision],
            "ENABLE_CPU_PINNING": False,  # pinned processes fight for the same cores
        }
        if options.cache_dir is not None:
            config["CACHE_DIR"] = str(options.cache_dir)
        self._model, self._fused = _compiled(path, options.batch, config)
        self._request = self._model.create_infer_request()
        self.inputs = tuple(_spec(port, port.get_any_name(), path) for port in self._model.inputs)
        # OpenVINO removes what does nothing, such as a pair of transposes, and its tensor then has the names of both ends.
        self._names = tuple(sorted(port.get_names()) for port in self._model.outputs)
        self.outputs = tuple(
            _spec(port, name, path)
            for port, names in zip(self._model.outputs, self._names, strict=True)
            for name in names
        )
        self.settings: Mapping[str, Setting] = self._read_back(options)

    def _read_back(self, options: BackendOptions) -> dict[str, Setting]:
        get = self._model.get_property
        return {
            "engine": "openvino",
            "engine_version": openvino.__version__.split("-")[0],
            "device": "CPU",
            "threads": get("INFERENCE_NUM_THREADS"),
            "streams": get("NUM_STREAMS"),
            "precision_hint": get("INFERENCE_PRECISION_HINT").get_type_name(),
            "performance_hint": str(get("PERFORMANCE_HINT")),
            "cpu_pinning": get("ENABLE_CPU_PINNING"),
            "cache": options.cache_dir is not None,
            "executed_precision": self._executed_precision(options.precision),
            **({} if self._fused else {"snippets": False}),
        }

    def _executed_precision(self, asked: str) -> str:
        """What the convolutions really compute in; an int8 model without one int8 layer is no int8 model."""
        hint = str(self._model.get_property("INFERENCE_PRECISION_HINT").get_type_name())
        floating = _PRECISION_NAMES.get(hint, hint)
        if asked != "int8":
            return floating
        layers = [operation.get_rt_info() for operation in self._model.get_runtime_model().get_ops()]
        quantized = any(
            info["layerType"] in ("Convolution", "FullyConnected", "MatMul")
            and info["runtimePrecision"] in ("i8", "u8")
            for info in layers
        )
        return "int8" if quantized else floating

    def layer_precisions(self) -> dict[str, str]:
        """The precision, such as "u8" or "f32", that every convolution and matrix product runs in, by its names in the file."""
        found = {}
        for operation in self._model.get_runtime_model().get_ops():
            info = operation.get_rt_info()
            if str(info["layerType"].value) in ("Convolution", "Deconvolution", "FullyConnected", "MatMul"):
                for name in str(info["originalLayersNames"].value).split(","):
                    found[name.removesuffix("/WithoutBiases")] = str(info["runtimePrecision"].value)
        return found

    def infer(self, feeds: Tensors) -> dict[str, npt.NDArray[Any]]:
        check_feeds(feeds, self.inputs)
        try:
            results = self._request.infer(dict(feeds), share_inputs=True, share_outputs=True)
        except RuntimeError as err:
            raise BackendError(f"OpenVINO failed: {_last_line(err)}") from err
        return {name: results[index] for index, names in enumerate(self._names) for name in names}

    @property
    def streams(self) -> int:
        """How many of the requests are worked on at a time."""
        return int(self._model.get_property("NUM_STREAMS"))

    def requests(self, count: int) -> "tuple[OpenVinoRequest, ...]":
        """So many inferences that can wait in the engine's own queue."""
        return tuple(
            OpenVinoRequest(self._model.create_infer_request(), self.inputs, self._names) for _ in range(count)
        )

    def close(self) -> None:
        del self._request, self._model

    def __enter__(self) -> "OpenVinoBackend":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class OpenVinoRequest:
    """One inference in the engine's queue; see `runtime.lanes.Request`."""

    def __init__(self, request: Any, inputs: tuple[TensorSpec, ...], names: tuple[list[str], ...]) -> None:
        self._request = request
        self._inputs = inputs
        self._names = names
        self._start_s = 0.0

    def start(self, feeds: Tensors, /) -> None:
        check_feeds(feeds, self._inputs)
        self._start_s = time.perf_counter()
        try:
            self._request.start_async(dict(feeds), share_inputs=True)
        except RuntimeError as err:
            raise BackendError(f"OpenVINO failed: {_last_line(err)}") from err

    def wait(self) -> tuple[dict[str, npt.NDArray[Any]], float, float]:
        try:
            self._request.wait()
            # `results` would copy.
            values = [self._request.get_output_tensor(index).data for index in range(len(self._names))]
        except RuntimeError as err:
            raise BackendError(f"OpenVINO failed: {_last_line(err)}") from err
        outputs = {name: values[index] for index, names in enumerate(self._names) for name in names}
        return outputs, self._start_s, self._start_s + self._request.latency / 1000


def _compiled(path: Path, batch: int | None, config: Mapping[str, Any]) -> tuple[Any, bool]:
    """The compiled model, and whether OpenVINO may fuse operations into snippets."""
    try:
        return openvino.Core().compile_model(_model(path, batch), "CPU", dict(config)), True
    except (RuntimeError, OSError) as err:
        # Some attention layers, as Mask2Former's, break its own fusion: "ReduceDecomposition supports only Reduce by last
        # dimension", and unfused they run.
        if "snippets" not in str(err):
            raise BackendError(f"OpenVINO cannot load {path}: {_last_line(err)}; try --backend ort") from err
    try:
        return openvino.Core().compile_model(_model(path, batch), "CPU", {**config, "SNIPPETS_MODE": "DISABLE"}), False
    except (RuntimeError, OSError) as err:
        raise BackendError(f"OpenVINO cannot load {path}: {_last_line(err)}; try --backend ort") from err


def _model(path: Path, batch: int | None) -> Any:
    """The file, which OpenVINO reads itself; one with an open batch as a model for so many images."""
    if batch is None:
        return str(path)
    model = openvino.Core().read_model(str(path))
    model.reshape({port.get_any_name(): [batch, *list(port.get_partial_shape())[1:]] for port in model.inputs})
    return model


def _spec(port: Any, name: str, path: Path) -> TensorSpec:
    kind = port.get_element_type().get_type_name()
    if kind not in _DTYPES:
        raise BackendError(f"{path}: '{name}' is a {kind}, which is not supported; cast it inside the graph")
    shape = tuple(dim.get_length() if dim.is_static else -1 for dim in port.get_partial_shape())
    return TensorSpec(name=name, shape=shape, dtype=_DTYPES[kind])


def _last_line(err: Exception) -> str:
    """The line of OpenVINO's stack of messages that says what is wrong: the last one that is not empty."""
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(err).__name__
