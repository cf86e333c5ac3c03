"""The machine as the checks see it: files below a root, programs, and fresh Python processes, since engines may crash."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgewright.pipeline.device import Device, describe_device
from edgewright.pipeline.doctor import Status
from edgewright.pipeline.doctor.probes import MARK
from edgewright.pipeline.ledger.jetson import jetson_linux

Target = Literal["tensorrt", "openvino", "onnxruntime"]
_PROBE_SECONDS = 120


@dataclass(frozen=True)
class Answer:
    """What a probe found, None when it failed; then `error` is what it said last, or which signal ended it."""

    value: Any
    error: str = ""


@dataclass(frozen=True)
class Interpreter:
    """The Python that runs this."""

    version: str
    executable: str
    prefix: str
    base_prefix: str
    paths: tuple[str, ...]

    @property
    def isolated(self) -> bool:
        """Whether it is a virtual environment."""
        return self.prefix != self.base_prefix


Ask = Callable[..., Answer]


@dataclass(frozen=True)
class Machine:
    """`target` None: whatever is there is checked, and an engine that is missing is no problem."""

    root: Path
    target: Target | None
    environment: Mapping[str, str]
    python: Interpreter
    ask: Ask
    device: Device
    packages: Mapping[str, str] = field(default_factory=dict)

    @property
    def jetson(self) -> str | None:
        """The release of Jetson Linux, None on other machines."""
        return jetson_linux(self.root)

    def wants(self, engine: Target) -> bool:
        """Whether this engine must work here: it was asked for, or it is TensorRT on a Jetson."""
        return self.target == engine or (self.target is None and engine == "tensorrt" and self.jetson is not None)

    def unless_wanted(self, engine: Target) -> Status:
        """How bad it is that this engine is missing."""
        return "problem" if self.wants(engine) else "note"


def this_machine(target: Target | None) -> Machine:
    """The machine that this runs on."""
    from importlib import metadata

    root = Path("/")
    python = Interpreter(
        version=".".join(map(str, sys.version_info[:3])),
        executable=sys.executable,
        prefix=sys.prefix,
        base_prefix=sys.base_prefix,
        paths=tuple(sys.path),
    )
    packages = {str(d.metadata["Name"]).lower(): d.version for d in metadata.distributions() if d.metadata["Name"]}
    return Machine(root, target, os.environ, python, ask_probe, describe_device(root), packages)


def ask_probe(name: str, *words: str) -> Answer:
    """What the probe `name` says in a process of its own, which may crash or hang without harm."""
    command = [sys.executable, "-m", "edgewright.pipeline.doctor.probes", name, *words]
    # Not from the working folder: a folder there that is named like an engine would be imported in its place.
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "ORT_DISABLE_TELEMETRY": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_PROBE_SECONDS, check=False,
            cwd=sys.prefix, env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Answer(None, f"it did not answer within {_PROBE_SECONDS} s")
    marked = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode == 0 and marked:
        return Answer(json.loads(marked[-1].removeprefix(MARK)), done.stderr)
    if done.returncode < 0:
        return Answer(None, f"{done.stderr}\nit was ended by signal {-done.returncode}")
    return Answer(None, done.stderr)
