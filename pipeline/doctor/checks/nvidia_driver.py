"""The NVIDIA driver, its GPUs, and the CUDA runtime."""

from collections.abc import Iterator
from typing import Any

from edgewright.pipeline.doctor import Finding, from_error, known_problem
from edgewright.pipeline.doctor.machine import Machine


def check(machine: Machine) -> Iterator[Finding]:
    """The driver, and where there is one the CUDA runtime; what is missing is a note unless TensorRT is wanted."""
    status = machine.unless_wanted("tensorrt")
    driver = machine.ask("driver")
    if driver.value is None:
        yield from_error("driver", "no GPU of NVIDIA can be used", driver.error, status=status)
        return
    gpus = ", ".join(map(_gpu, driver.value["gpus"]))
    yield Finding("driver", "ok", f"runs CUDA up to {driver.value['cuda']}: {gpus}", details=driver.value)
    cuda = machine.ask("cuda")
    if cuda.value is None:
        yield from_error("cuda", "no CUDA runtime", cuda.error, status=status)
    elif _major(cuda.value["version"]) > _major(driver.value["cuda"]):
        found = f"CUDA runtime {cuda.value['version']} is newer than the driver's {driver.value['cuda']}"
        yield known_problem("cuda", "driver-too-old", found)
    else:
        yield Finding("cuda", "ok", f"runtime {cuda.value['version']}", details=cuda.value)


def _gpu(gpu: dict[str, Any]) -> str:
    integrated = ", integrated" if gpu["integrated"] else ""
    return f"{gpu['name']} (sm{gpu['sm']}, {gpu['memory_bytes'] / 2**30:.0f} GiB{integrated})"


def _major(version: str) -> int:
    """Within a major number a newer runtime runs on an older driver (CUDA, minor version compatibility)."""
    return int(version.split(".")[0])
