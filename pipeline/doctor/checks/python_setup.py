"""The Python that runs this: its version, and whether it sees what the system brings."""

from collections.abc import Iterator
from pathlib import Path

from edgewright.pipeline.doctor import Finding
from edgewright.pipeline.doctor.machine import Machine

_ID = "python"
# Pythons that do not see the packages of the system's.
_FOREIGN = ("conda", "mamba", "/uv/python", "pyenv", "homebrew")


def check(machine: Machine) -> Iterator[Finding]:
    """One finding; on a Jetson a Python that cannot see TensorRT and the system's OpenCV is a problem."""
    python = machine.python
    kind = "a virtual environment" if python.isolated else "no virtual environment"
    foreign = next((word for word in _FOREIGN if word in python.base_prefix or word in python.executable), None)
    maker = f", of {foreign.strip('/')}" if foreign else ""
    found = f"{python.version}, {kind}{maker}"
    system = _system_folder(machine)
    if machine.jetson is None or system in python.paths:
        yield Finding(_ID, "ok", found)
        return
    venv = "/usr/bin/python3 -m venv --system-site-packages VENV"
    yield Finding(
        _ID,
        "problem",
        f"{found}, which does not see {system}, where JetPack puts TensorRT and OpenCV",
        f"make the environment anew with the system's Python: {venv}",
    )


def _system_folder(machine: Machine) -> str:
    """Where Debian's Python keeps what apt installs."""
    return str(Path("/usr/lib/python3/dist-packages"))
