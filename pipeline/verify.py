"""Re-run a bundle's golden tensors on this machine and compare."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgewright.runtime.backends import Backend, BackendOptions, open_backend
from edgewright.runtime.bundle import Bundle, Golden
from edgewright.runtime.errors import BundleError
from edgewright.runtime.npz_file import read_npz
from edgewright.runtime.predictor import Predictor, open_image_graph
from edgewright.runtime.proposals import NONE
from edgewright.runtime.spec import TensorSpec

Tensors = tuple[TensorSpec, ...]


@dataclass(frozen=True)
class GoldenCheck:
    """One compared tensor: the largest difference, and the largest in units of the allowed one (passes at ≤ 1)."""

    tensor: str
    max_difference: float
    of_tolerance: float

    @property
    def passed(self) -> bool:
        return self.of_tolerance <= 1.0


def verify(
    bundle: Bundle, *, backend: str = "ort", precision: str = "fp32", threads: int | None = None
) -> tuple[GoldenCheck, ...]:
    """One check per golden tensor: the input made from the golden image, and each output for the golden input.

    Digests were checked when the bundle was loaded. The engine gets the stored input, so that a difference names its cause:
    `input:` is pre-processing on this machine, `output:` is the engine.
    """
    golden = bundle.golden(backend=backend, precision=precision)
    stored = _stored_tensors(bundle, golden)
    # The regions are stored as well: the method that finds them may not be there, and is not what is verified.
    propose = None if bundle.spec.proposals is None else "windows"
    with open_image_graph(bundle, backend=backend, precision=precision, threads=threads, propose=propose) as predictor:
        checks = [_check_input(bundle, golden, predictor, stored)]
        checks += _check_outputs(predictor.backend, bundle.spec.inputs, bundle.spec.outputs, golden, stored)
    options = BackendOptions(precision=precision, threads=threads)
    for graph in bundle.spec.graphs or ():
        file = bundle.model_file(backend=backend, precision=precision, graph=graph.name)
        with open_backend(backend, bundle.file(file.name), options) as engine:
            checks += _check_outputs(engine, graph.inputs, graph.outputs, golden, stored)
    return tuple(checks)


def _check_outputs(
    engine: Backend, inputs: Tensors, outputs: Tensors, golden: Golden, stored: dict[str, npt.NDArray[Any]]
) -> Iterator[GoldenCheck]:
    # What another graph gave is an input of this one.
    feeds = {t.name: stored.get(f"input:{t.name}", stored.get(f"output:{t.name}")) for t in inputs}
    got = engine.infer({name: value for name, value in feeds.items() if value is not None})
    for tensor in outputs:
        expected = stored[f"output:{tensor.name}"]
        allowed = golden.tolerance.absolute + golden.tolerance.relative * np.abs(expected)
        yield _compare(f"output:{tensor.name}", got[tensor.name], expected, allowed)


def _stored_tensors(bundle: Bundle, golden: Golden) -> dict[str, npt.NDArray[Any]]:
    graphs = [(bundle.spec.inputs, bundle.spec.outputs), *((g.inputs, g.outputs) for g in bundle.spec.graphs or ())]
    given = {tensor.name for _, outputs in graphs for tensor in outputs}
    names = [f"input:{t.name}" for inputs, _ in graphs for t in inputs if t.name not in given]
    names += [f"output:{t.name}" for _, outputs in graphs for t in outputs]
    path = bundle.file(golden.tensors)
    try:
        stored = read_npz(path)
        return {name: stored[name] for name in names}
    except (OSError, ValueError, KeyError) as err:
        raise BundleError(f"{path} does not hold the golden tensors {names} ({err}); export the bundle again") from err


def _check_input(
    bundle: Bundle, golden: Golden, predictor: Predictor, stored: dict[str, npt.NDArray[Any]]
) -> GoldenCheck:
    image = cv2.imread(str(bundle.file(golden.image)), cv2.IMREAD_COLOR)
    if image is None:
        raise BundleError(f"{bundle.file(golden.image)} is not a readable image; export the bundle again")
    feeds, _ = predictor.prepare(np.asarray(image, np.uint8), NONE)
    (name, got), spec = next(iter(feeds.items())), bundle.spec.preprocess
    level = abs(spec.scale) / min(abs(value) for value in spec.std)
    return _compare(f"input:{name}", got, stored[f"input:{name}"], golden.tolerance.input_levels * level * (1 + 1e-6))


def _compare(name: str, got: npt.NDArray[Any], expected: npt.NDArray[Any], allowed: Any) -> GoldenCheck:
    if got.shape != expected.shape or not np.isfinite(got).all():
        return GoldenCheck(name, float("inf"), float("inf"))
    difference = np.abs(got.astype(np.float64) - expected)
    return GoldenCheck(name, float(difference.max(initial=0)), float((difference / allowed).max(initial=0)))
