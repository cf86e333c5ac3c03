"""Engines are built once per device, in a process of their own: a build may take minutes and gigabytes, and may end its process."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from edgewright.runtime.errors import BackendError, UsageError
from edgewright.runtime.spec import Strict
from edgewright.runtime.tensorrt.driver import OTHERWISE
from edgewright.runtime.tensorrt.engine_file import DeviceKey, find_engine, save_engine
from edgewright.runtime.tensorrt.plan import BuildSpec

Tell = Callable[[str], None]
# Minutes are usual on a board, an hour is not: NVIDIA's forum knows builds that never end.
TIMEOUT_S = 3600.0
_TOLD_EVERY_S = 5.0


class Job(Strict):
    """What the building process is given: paths of the model, of the results, and the import name of TensorRT."""

    spec: BuildSpec
    model: str
    engine: str
    timing_cache: str
    module: str = "tensorrt"


@dataclass(frozen=True)
class Engine:
    """An engine in the cache; `reason` says why it was built, None when it was there."""

    path: Path
    reason: str | None


def ensure_engine(
    folder: Path,
    name: str,
    model: Path,
    spec: BuildSpec,
    device: DeviceKey,
    *,
    tell: Tell,
    timeout_s: float = TIMEOUT_S,
    module: str = "tensorrt",
) -> Engine:
    """The engine `name` of `folder` that fits, else a new one of the ONNX file `model`; BackendError when the build fails.

    Two processes never build at once in one folder: the second waits, and takes what the first made.
    """
    _make_private(folder)
    found = find_engine(folder, name, spec, device)
    if found.path is not None:
        return Engine(found.path, None)
    with _locked(folder / "build.lock", tell):
        found = find_engine(folder, name, spec, device)
        if found.path is not None:
            return Engine(found.path, None)
        tell(
            f"building {spec.model} for TensorRT {device.tensorrt} on {device.gpu} ({found.reason}); this takes 1 to 15 minutes"
        )
        return Engine(_build(folder, name, model, spec, device, tell, timeout_s, module), found.reason)


def _build(
    folder: Path, name: str, model: Path, spec: BuildSpec, device: DeviceKey, tell: Tell, timeout_s: float, module: str
) -> Path:
    timing = folder / f"{device.tensorrt}-sm{device.sm}.timing"
    with tempfile.TemporaryDirectory(prefix=".build-", dir=folder) as work:
        result = Path(work) / "engine"
        fresh = Path(work) / "timing"
        if timing.is_file():
            fresh.write_bytes(timing.read_bytes())
        job = Job(spec=spec, model=str(model.absolute()), engine=str(result), timing_cache=str(fresh), module=module)
        run_build(job, tell=tell, timeout_s=timeout_s)
        try:
            path = save_engine(folder, name, result.read_bytes(), spec, device)
            if fresh.is_file():
                os.replace(fresh, timing)
        except OSError as err:
            raise BackendError(_cannot_write(folder, err)) from err
    return path


def run_build(job: Job, *, tell: Tell, timeout_s: float = TIMEOUT_S) -> None:
    """Build in a process of its own, which writes the engine; BackendError with its last word, or with how it ended."""
    command = [sys.executable, "-m", "edgewright.runtime.tensorrt.build_process"]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            failure = _follow(process, job, tell, timeout_s)
        except BaseException:
            process.kill()
            raise
        status = process.wait()
        log.seek(0)
        words = _last_line(log.read().decode(errors="replace"))
    if failure is not None:
        raise BackendError(failure)
    if status != 0:
        raise BackendError(_how_it_ended(job, status, words))


def _follow(process: "subprocess.Popen[str]", job: Job, tell: Tell, timeout_s: float) -> str | None:
    """Pass on what the process says, one JSON object a line; the sentence of its failure, None when it gave none."""
    lines: queue.Queue[str | None] = queue.Queue()
    _pipe(process.stdin).write(job.model_dump_json())
    _pipe(process.stdin).close()
    threading.Thread(target=_read_lines, args=(_pipe(process.stdout), lines), daemon=True).start()
    start, told, failure = time.monotonic(), 0.0, None
    while True:
        left = start + timeout_s - time.monotonic()
        try:
            line = lines.get(timeout=max(left, 0.0))
        except queue.Empty:
            process.kill()
            return (
                f"building {job.spec.model} took more than {timeout_s / 60:.0f} minutes and was stopped; try a lower optimization level, "
                "or build with trtexec (`edgewright compile --print-trtexec`)"
            )
        if line is None:
            return failure
        said = _parsed(line)
        failure = said.get("error", failure)
        now = time.monotonic() - start
        if "phase" in said and now - told >= _TOLD_EVERY_S:
            told = now
            tell(_progress(said, now))


def _pipe(stream: IO[str] | None) -> IO[str]:
    """The stream, which is there because the process was started with pipes."""
    if stream is None:
        raise BackendError("the process that builds has no pipes; report this")
    return stream


def _read_lines(stream: IO[str], lines: "queue.Queue[str | None]") -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _parsed(line: str) -> dict[str, Any]:
    """One message; TensorRT or a plugin may print lines of its own between them."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _progress(said: dict[str, Any], seconds: float) -> str:
    """How far the phase is, and how long the rest takes if it goes on as it did."""
    step, steps = int(said["step"]), int(said["steps"])
    if not 0 < step <= steps:
        return f"{said['phase']} ({_clock(seconds)})"
    left = float(said["seconds"]) * (steps - step) / step
    return f"{said['phase']}: {step} of {steps} ({_clock(seconds)} so far, this phase about {_clock(left)} more)"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _how_it_ended(job: Job, status: int, words: str) -> str:
    if status == -signal.SIGKILL:
        return (
            f"the system stopped the build of {job.spec.model}, most likely because memory ran out; close other programs, add swap, "
            "or build with a smaller workspace or input"
        )
    if status < 0:
        name = signal.Signals(-status).name if -status in {int(s) for s in signal.Signals} else str(-status)
        return f"TensorRT ended the build of {job.spec.model} with {name}{words}; `edgewright lint` may say why, and {OTHERWISE}"
    return f"the build of {job.spec.model} ended with status {status}{words}; {OTHERWISE}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f" ({lines[-1][:300]})" if lines else ""


def _cannot_write(folder: Path, err: OSError) -> str:
    return f"cannot write an engine into {folder}: {err.strerror or err}; make room there, or choose another folder for engines"


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as err:
        raise UsageError(_cannot_write(folder, err)) from err


@contextlib.contextmanager
def _locked(path: Path, tell: Tell) -> Iterator[None]:
    """Hold the lock file; the system frees it when its process ends, however it ends."""
    try:
        import fcntl
    except ModuleNotFoundError:  # on Windows; the worst is that an engine is built twice
        yield
        return
    with path.open("w", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            tell("another process builds engines here; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
