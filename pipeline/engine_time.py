"""What an engine takes on its own, without host and transfers: timed by NVIDIA's trtexec, where the device has it."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgewright.pipeline.report.schema import Measurement
from edgewright.runtime.tensorrt.trtexec import ON_JETSON, timing_command
from edgewright.runtime.tensorrt.trtexec_output import TrtexecTimes, parse_trtexec

_TIMEOUT_S = 120
# Of a report -> of trtexec.
_STATISTICS = {"p50": "median", "p95": "p95", "p99": "p99", "mean": "mean"}


def engine_path(backend: Any) -> Path | None:
    """The file of a backend's TensorRT engine, None of another backend."""
    path = getattr(getattr(backend, "engine", backend), "engine_path", None)
    return path if isinstance(path, Path) else None


def engine_times(
    engine: Path | None, settings: Mapping[str, object], *, program: str = ON_JETSON
) -> TrtexecTimes | None:
    """The times without transfers of an engine of the TensorRT and on the processor that a backend's settings name.

    None without an engine or trtexec, or when that fails.
    """
    found = shutil.which(program)
    if engine is None or found is None:
        return None
    numbers = tuple(int(part) for part in str(settings.get("engine_version")).split(".") if part.isdigit())
    kind, _, core = str(settings.get("processor")).partition(" ")
    command = timing_command(engine, numbers, dla_core=int(core) if kind == "DLA" else None, program=found)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_trtexec(done.stdout)


def engine_measurements(times: TrtexecTimes | None) -> Iterator[Measurement]:
    """`latency.engine.p50` and so on, in ms; none without times."""
    compute = {} if times is None else times.ms.get("compute", {})
    for name, statistic in _STATISTICS.items():
        if statistic in compute:
            yield Measurement(
                name=f"latency.engine.{name}", value=compute[statistic], unit="ms", higher_is_better=False
            )
