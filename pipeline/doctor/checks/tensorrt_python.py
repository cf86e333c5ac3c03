"""TensorRT: whether this Python sees it, and whether its version is one that works here."""

import re
from collections.abc import Iterator
from pathlib import Path

from edgewright.pipeline.doctor import Finding, from_error, known_problem
from edgewright.pipeline.doctor.machine import Machine
from edgewright.runtime.errors import UsageError
from edgewright.runtime.tensorrt.targets import find_target
from edgewright.runtime.tensorrt.trtexec import ON_JETSON

_ID = "tensorrt"


def check(machine: Machine) -> Iterator[Finding]:
    """What stops it; a missing TensorRT is a note where nobody asked for it."""
    answer = machine.ask("tensorrt")
    if answer.value is None:
        yield from _missing(machine, answer.error)
        return
    yield _version(machine, str(answer.value["version"]), str(answer.value["file"]))
    if answer.value["types"]:
        yield from_error("tensorrt-numpy", "its types do not fit this NumPy", str(answer.value["types"]))


def _missing(machine: Machine, error: str) -> Iterator[Finding]:
    finding = from_error(_ID, "cannot be imported", error, status=machine.unless_wanted("tensorrt"))
    other = [path for path in _installed(machine.root) if _shown(path.parent, machine.root) not in machine.python.paths]
    if finding.known == "tensorrt-not-seen" and other:
        place, ours = _shown(other[0], machine.root), ".".join(machine.python.version.split(".")[:2])
        found = f"{place} is for the system's Python; this Python {ours} does not look there"
        yield known_problem(_ID, "tensorrt-not-seen", found)
    else:
        yield finding
    if (machine.root / ON_JETSON.lstrip("/")).is_file():
        yield Finding("trtexec", "note", f"{ON_JETSON} is there: it builds engines by hand")


def _version(machine: Machine, text: str, file: str) -> Finding:
    numbers = re.match(r"\d+(\.\d+){0,3}", text)
    # The GPU's number decides only whether it is that of a Jetson, which some versions do not support.
    where = "@sm87" if machine.jetson else ""
    try:
        find_target(f"trt{numbers[0] if numbers else text}{where}")
    except UsageError as err:
        return Finding(_ID, "problem", str(err))
    return Finding(_ID, "ok", text, details={"version": text, "file": file})


def _installed(root: Path) -> list[Path]:
    """Every TensorRT that apt brought, whichever Python it is for."""
    return sorted((root / "usr/lib").glob("python3*/dist-packages/tensorrt"))


def _shown(path: Path, root: Path) -> str:
    return f"/{path.relative_to(root)}"
