"""Re-run a bundle's golden tensors on this machine and compare."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgewright.runtime.bundle import Bundle, Golden
from edgewright.runtime.errors import BundleError
from edgewright.runtime.predictor import Predictor, open_predictor
from edgewright.runtime.proposals import NONE


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
    golden = bundle.manifest.golden
    if golden is None:
        raise BundleError(f"{bundle.path} has no golden tensors, so it cannot be verified; export the bundle again")
    stored = _stored_tensors(bundle, golden)
    # The regions are stored as well: the method that finds them may not be there, and is not what is verified.
    propose = None if bundle.spec.proposals is None else "windows"
    with open_predictor(bundle, backend=backend, precision=precision, threads=threads, propose=propose) as predictor:
        checks = [_check_input(bundle, golden, predictor, stored)]
        feeds = {tensor.name: stored[f"input:{tensor.name}"] for tensor in bundle.spec.inputs}
        outputs = predictor.infer(feeds)
        for tensor in bundle.spec.outputs:
            expected, got = stored[f"output:{tensor.name}"], outputs[tensor.name]
            allowed = golden.tolerance.absolute + golden.tolerance.relative * np.abs(expected)
            checks.append(_compare(f"output:{tensor.name}", got, expected, allowed))
    return tuple(checks)


def _stored_tensors(bundle: Bundle, golden: Golden) -> dict[str, npt.NDArray[Any]]:
    names = [f"input:{t.name}" for t in bundle.spec.inputs] + [f"output:{t.name}" for t in bundle.spec.outputs]
    path = bundle.file(golden.tensors)
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names}
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
