"""ONNX Runtime and OpenVINO on the processor: versions, instruction sets, threads."""

from collections.abc import Iterator

from edgewright.calibration.isa import sums_exactly
from edgewright.pipeline.doctor import Finding, from_error, known_problem
from edgewright.pipeline.doctor.machine import Machine
from edgewright.runtime.cpu import usable_cores

# Settings of the environment that change speed or results, and hold nothing private.
VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "OPENCV_FOR_THREADS_NUM", "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE", "CUDA_VISIBLE_DEVICES", "CUDA_MODULE_LOADING", "LD_PRELOAD",
)  # fmt: skip


def check(machine: Machine) -> Iterator[Finding]:
    """What each engine is; OpenVINO is left out where another one is the target, ONNX Runtime is the reference of all."""
    yield from _threads(machine)
    yield from _onnx_runtime(machine)
    if machine.target in (None, "openvino"):
        yield from _openvino(machine)


def _threads(machine: Machine) -> Iterator[Finding]:
    cores, logical = usable_cores(machine.root), machine.device.identity.get("logical_cores")
    set_here = {name: machine.environment[name] for name in VARIABLES if name in machine.environment}
    shown = ", ".join(f"{name}={value}" for name, value in set_here.items())
    found = f"{cores} of {logical} cores may be used{f'; {shown}' if shown else ''}"
    asked = set_here.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > cores:
        fix = f"unset OMP_NUM_THREADS, or set it to {cores}"
        yield Finding("threads", "note", f"{found}: more threads than cores", fix, details=dict(set_here))
    else:
        yield Finding("threads", "ok", found, details=dict(set_here))


def _onnx_runtime(machine: Machine) -> Iterator[Finding]:
    answer = machine.ask("onnxruntime")
    if answer.value is None:
        yield from_error("onnxruntime", "cannot be used", answer.error)
        return
    yield Finding("onnxruntime", "ok", str(answer.value["version"]), details=answer.value)
    both = [name for name in ("onnxruntime", "onnxruntime-gpu") if name in machine.packages]
    if len(both) > 1:
        yield known_problem(
            "onnxruntime-packages",
            "provider-missing",
            "onnxruntime and onnxruntime-gpu write the same files",
            status="note",
        )


def _openvino(machine: Machine) -> Iterator[Finding]:
    answer = machine.ask("openvino")
    if answer.value is None:
        yield from_error("openvino", "cannot be used", answer.error, status=machine.unless_wanted("openvino"))
        return
    devices = ", ".join(f"{name} ({full})" for name, full in answer.value["devices"].items())
    yield Finding("openvino", "ok", f"{answer.value['version']}: {devices}", details=answer.value)
    sets = [str(name) for name in _list(machine.device.identity.get("isa"))]
    if sums_exactly(machine.root):
        yield Finding("int8-arithmetic", "ok", f"8-bit products are summed exactly ({', '.join(sets)})")
    else:
        known = ", ".join(sets) or "none known"
        yield known_problem(
            "int8-arithmetic", "cpu-without-vnni", f"8-bit products may overflow: no VNNI in {known}", status="note"
        )


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
