"""The hot path: pre-process → backend → head."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy.typing as npt

from edgewright.runtime.backends import Backend, BackendOptions, Setting, Tensors, open_backend
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import BackendError
from edgewright.runtime.geometry import Placement
from edgewright.runtime.heads import load_head
from edgewright.runtime.preprocess import Preprocessor
from edgewright.runtime.results import Image, Result
from edgewright.runtime.spec import ModelSpec, PostprocessSpec


def open_predictor(
    bundle: Bundle,
    *,
    backend: str = "ort",
    precision: str = "fp32",
    threads: int | None = None,
    postprocess: PostprocessSpec | None = None,
    cache_dir: Path | None = None,
) -> "Predictor":
    """A predictor for `bundle` on `backend`; `postprocess` None means the bundle's own thresholds."""
    entry = bundle.model_file(backend=backend, precision=precision)
    options = BackendOptions(precision=precision, threads=threads, cache_dir=cache_dir)
    engine = open_backend(backend, bundle.file(entry.name), options)
    try:
        return Predictor(
            bundle.spec, engine, postprocess or bundle.spec.postprocess, {"backend": backend, "precision": precision}
        )
    except BaseException:
        engine.close()
        raise


class Predictor:
    """One network, ready to run. Not for several threads at once: it reuses its input tensor."""

    def __init__(
        self,
        spec: ModelSpec,
        backend: Backend,
        postprocess: PostprocessSpec,
        settings: Mapping[str, Setting] | None = None,
    ) -> None:
        self.spec = spec
        self.backend = backend
        self.postprocess = postprocess
        self.settings: dict[str, Setting] = {**(settings or {}), **backend.settings, **postprocess.model_dump()}
        self._preprocess = Preprocessor(spec.preprocess)
        self._decode = load_head(spec)
        self._input = spec.inputs[0].name
        self._check_backend()

    def __call__(self, image: Image) -> Result:
        """What the network finds on a BGR uint8 image (H, W, 3), in pixels of that image."""
        feeds, placement = self.prepare(image)
        return self.finish(self.infer(feeds), placement)

    def prepare(self, image: Image) -> tuple[Tensors, Placement]:
        """The input tensor, valid until the next call, and where the image lies in it."""
        tensor, placement = self._preprocess(image)
        return {self._input: tensor}, placement

    def infer(self, feeds: Tensors) -> dict[str, npt.NDArray[Any]]:
        """The raw outputs by name, valid until the next call."""
        return self.backend.infer(feeds)

    def finish(self, outputs: Tensors, placement: Placement) -> Result:
        """The result of the raw outputs; keeps no reference to them."""
        by_role = {role: outputs[name] for role, name in self.spec.head.outputs.items()}
        return self._decode(by_role, self.spec, placement, self.postprocess)

    def close(self) -> None:
        """Free the engine."""
        self.backend.close()

    def __enter__(self) -> "Predictor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_backend(self) -> None:
        for what, wanted, got in (
            ("input", self.spec.inputs, self.backend.inputs),
            ("output", self.spec.outputs, self.backend.outputs),
        ):
            missing = sorted({tensor.name for tensor in wanted} - {tensor.name for tensor in got})
            if missing:
                raise BackendError(
                    f"the engine has no {what} {missing}, it has {sorted(tensor.name for tensor in got)}; "
                    "the model file does not belong to this manifest, export the bundle again"
                )
