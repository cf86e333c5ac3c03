"""`python -m edgewright.runtime.tensorrt.build_process`: builds one engine, told by a job on stdin; says JSON lines on stdout."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from edgewright.runtime.backends import trt as backend
from edgewright.runtime.errors import EdgeError
from edgewright.runtime.tensorrt.build import build_engine
from edgewright.runtime.tensorrt.building import Job


def main() -> int:
    """0 when the engine is written; 3 after a line that says why it is not."""
    job = Job.model_validate_json(sys.stdin.read())
    try:
        _build(job)
    except EdgeError as err:
        _say(error=str(err))
    except OSError as err:
        _say(error=f"cannot write the engine of {job.spec.model}: {err.strerror or err}; make room on that disk")
    except MemoryError:
        _say(error=f"memory ran out while {job.spec.model} was built; close other programs, or add swap")
    else:
        return 0
    return 3


def _build(job: Job) -> None:
    trt = backend.import_tensorrt(job.module)
    log = backend.logger_of(trt)
    timing = Path(job.timing_cache)
    model, known = Path(job.model).read_bytes(), timing.read_bytes() if timing.is_file() else b""
    started: dict[str, float] = {}

    def tell(phase: str, step: int, steps: int) -> None:
        begin = started.setdefault(phase, time.monotonic())
        _say(phase=phase, step=step, steps=steps, seconds=time.monotonic() - begin)

    try:
        built = build_engine(trt, log, model, job.spec, path=Path(job.model), timing_cache=known, tell=tell)
    except EdgeError as err:
        raise type(err)(f"{err}{log.quoted()}") from err
    Path(job.engine).write_bytes(built.engine)
    if built.timing_cache:
        timing.write_bytes(built.timing_cache)


def _say(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
