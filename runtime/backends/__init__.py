"""Inference engines behind one protocol; each is one file that imports its engine."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgewright.runtime import plugins
from edgewright.runtime.errors import BackendError
from edgewright.runtime.spec import TensorSpec

Tensors = Mapping[str, npt.NDArray[Any]]
Setting = str | int | float | bool | None


@dataclass(frozen=True)
class BackendOptions:
    """What a backend is asked for: threads (None: all usable cores), execution precision, and a folder for compiled
    models (None: nothing is cached).

    The threads are shared by `streams` inferences side by side (None: as many as give the most inferences a second); a backend
    that knows no streams has one.

    `batch` is how many images go through a graph at once whose batch is open, None where the graph says it.
    """

    precision: str = "fp32"
    threads: int | None = None
    cache_dir: Path | None = None
    streams: int | None = 1
    batch: int | None = None


class Backend(Protocol):
    """One loaded graph. `settings` is what the engine really uses, read back from it where it can be."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def settings(self) -> Mapping[str, Setting]: ...

    def infer(self, feeds: Tensors) -> dict[str, npt.NDArray[Any]]:
        """The outputs by name for the inputs by name. They may be overwritten by the next call: copy what is kept."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> "Backend": ...

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_backend(name: str, path: Path, options: BackendOptions) -> Backend:
    """Backend `name` ("ort", "ov") with the model file `path` loaded; BackendError when the engine refuses it."""
    module = plugins.load(__name__, name)
    backend: Backend = module.open_backend(path, options)
    return backend


def check_feeds(feeds: Tensors, inputs: tuple[TensorSpec, ...]) -> None:
    """BackendError unless every input is fed with an array of its element type and (static) shape."""
    for spec in inputs:
        if spec.name not in feeds:
            raise BackendError(f"input '{spec.name}' is not fed; got {sorted(feeds)}")
        array = feeds[spec.name]
        fits = len(array.shape) == len(spec.shape) and all(
            isinstance(want, str) or want < 0 or want == got for want, got in zip(spec.shape, array.shape, strict=True)
        )
        if not fits or array.dtype != np.dtype(spec.dtype):
            raise BackendError(
                f"input '{spec.name}' wants {spec.dtype} {list(spec.shape)}, got {array.dtype} {list(array.shape)}; "
                "check size, layout and dtype in the bundle's pre-processing"
            )
