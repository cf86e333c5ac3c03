"""Memory, swap, disk, and what a container allows of them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from edgewright.pipeline.doctor import Finding, known_problem
from edgewright.pipeline.doctor.machine import Machine
from edgewright.runtime.control_groups import cpu_quota, memory_limit_bytes
from edgewright.runtime.system_files import read_pairs
from edgewright.runtime.tensorrt.on_device import user_cache

_GIB = 2**30
# A detector runs in less; a build on a Jetson takes up to about 2 GiB beside the GPU's libraries.
_LEAST_FREE_GIB, _LEAST_FOR_BUILD_GIB = 0.5, 2.0
_SMALL_BOARD_GIB = 8.5
_LEAST_DISK_GIB, _SHORT_DISK_GIB = 0.5, 2.0


def check(machine: Machine) -> Iterator[Finding]:
    """Whether there is enough to run, and on a Jetson enough to build."""
    yield _memory(machine)
    yield from _container(machine)
    yield _disk(_existing(user_cache(machine.environment)) if machine.root == Path("/") else machine.root)


def _memory(machine: Machine) -> Finding:
    total, free, swap = (_gib(machine.root, key) for key in ("MemTotal", "MemAvailable", "SwapTotal"))
    if total is None or free is None:
        return Finding("memory", "unknown", "/proc/meminfo does not say")
    limit = memory_limit_bytes(machine.root)
    if limit is not None:
        total, free = min(total, limit / _GIB), min(free, limit / _GIB)
    found = f"{free:.1f} of {total:.1f} GiB free, swap {swap or 0:.1f} GiB"
    builds = machine.wants("tensorrt")
    if free < _LEAST_FREE_GIB:
        return known_problem("memory", "killed-for-memory", found)
    if builds and free + (swap or 0) < _LEAST_FOR_BUILD_GIB:
        return known_problem("memory", "killed-for-memory", f"{found}: little for building an engine")
    if builds and total < _SMALL_BOARD_GIB and not swap:
        return known_problem("memory", "killed-for-memory", f"{found}: a build may want swap", status="note")
    return Finding("memory", "ok", found)


def _container(machine: Machine) -> Iterator[Finding]:
    kind, quota, limit = (
        machine.device.state.get("container"),
        cpu_quota(machine.root),
        memory_limit_bytes(machine.root),
    )
    if kind is None and quota is None and limit is None:
        return
    limits = [f"{quota:g} cores" if quota is not None else "", f"{limit / _GIB:.1f} GiB" if limit is not None else ""]
    text = " and ".join(word for word in limits if word)
    found = f"{kind or 'a control group'}, limited to {text}" if text else f"{kind}, without limits"
    yield Finding("container", "note" if text else "ok", found)
    empty = [path for path in _mounted_libraries(machine.root) if path.stat().st_size == 0]
    if empty:
        yield known_problem(
            "container-libraries", "jetson-library-empty", f"{empty[0].name} and {len(empty) - 1} more are empty"
        )


def _mounted_libraries(root: Path) -> list[Path]:
    """What NVIDIA's container runtime puts into containers on a Jetson."""
    folders = ("usr/lib/aarch64-linux-gnu/nvidia", "usr/lib/aarch64-linux-gnu/tegra")
    return [path for folder in folders for path in sorted((root / folder).glob("lib*.so*")) if path.is_file()]


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free / _GIB
    found = f"{free:.1f} GiB free where engines are kept"
    if free < _LEAST_DISK_GIB:
        return known_problem("disk", "disk-full", found)
    return Finding("disk", "ok" if free >= _SHORT_DISK_GIB else "note", found)


def _existing(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.parents) if parent.is_dir())


def _gib(root: Path, key: str) -> float | None:
    words = read_pairs(root / "proc/meminfo").get(key, "").split()
    return int(words[0]) / 2**20 if words and words[0].isdigit() else None
