"""A bundle on every engine of this machine that works, each in a process of its own."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from edgewright.pipeline.doctor import Finding, from_error
from edgewright.pipeline.doctor.machine import Machine
from edgewright.runtime.bundle import Bundle, Precision
from edgewright.runtime.errors import UsageError

# Backend -> the checks that must have found nothing wrong, and the target that wants it. ONNX Runtime is the reference.
_ENGINES = {"ort": ("onnxruntime",), "ov": ("openvino",), "trt": ("tensorrt", "driver", "cuda")}
_OF_TARGET = {
    None: ("ort", "ov", "trt"),
    "tensorrt": ("ort", "trt"),
    "openvino": ("ort", "ov"),
    "onnxruntime": ("ort",),
}
_EIGHT_BITS = ("int8", "i8", "u8")


def try_bundle(machine: Machine, bundle: Bundle, findings: Sequence[Finding]) -> Iterator[Finding]:
    """One finding for each engine and precision that the bundle holds; engines that do not work are left out."""
    working = {finding.check for finding in findings if finding.status == "ok"}
    for backend in _OF_TARGET[machine.target]:
        if not working.issuperset(_ENGINES[backend]):
            continue
        for precision in get_args(Precision):
            if _holds(bundle, backend, precision):
                yield _tried(machine, bundle, backend, precision)


def _holds(bundle: Bundle, backend: str, precision: str) -> bool:
    try:
        bundle.model_file(backend=backend, precision=precision)
    except UsageError:
        return False
    return True


def _tried(machine: Machine, bundle: Bundle, backend: str, precision: str) -> Finding:
    name = f"{backend}-{precision}"
    answer = machine.ask("trial", str(Path(bundle.path).absolute()), backend, precision)
    if answer.value is None:
        return from_error(name, f"{bundle.spec.name} does not run", answer.error)
    result: dict[str, Any] = answer.value
    wrong = [check["tensor"] for check in result["goldens"] or () if not check["passed"]]
    times, layers = result["latency_ms"], result["layers"]
    found = f"{times['median']:.2f} ms a frame ({times['least']:.2f} to {times['most']:.2f}, {times['runs']} runs)"
    found = f"{found}{_shares(layers)}"
    if wrong:
        fix = f"see how far: edgewright verify BUNDLE --backend {backend} --precision {precision}; export or quantize again for this engine"
        return Finding(name, "problem", f"golden tensors differ: {', '.join(wrong)}; {found}", fix, details=result)
    if precision == "int8" and layers and not int8_share(layers):
        fix = "edgewright quantize for this engine's target; an fp32 model is as fast here and more exact"
        return Finding(name, "problem", f"not one layer is int8; {found}", fix, details=result)
    agree = "no golden tensors to compare with" if result["goldens"] is None else "golden tensors agree"
    return Finding(name, "note" if result["goldens"] is None else "ok", f"{agree}; {found}", details=result)


def int8_share(layers: dict[str, str]) -> float:
    """The share of the layers that compute in 8-bit integers, signed or not."""
    return sum(kind.lower() in _EIGHT_BITS for kind in layers.values()) / len(layers) if layers else 0.0


def _shares(layers: dict[str, str]) -> str:
    kinds = list(layers.values())
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    share = f" {int8_share(layers):.0%} are int8" if int8_share(layers) else ""
    return f"; of {len(kinds)} convolutions and products{share}: {counts}" if kinds else ""
