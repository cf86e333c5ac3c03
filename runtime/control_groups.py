"""The CPU and memory limits that control groups put on this process, whichever version of them is mounted."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from edgewright.runtime.system_files import read_int, read_text


def cpu_quota(root: Path) -> float | None:
    """How many cores' worth of time this process may use, None without a limit."""
    v2 = [_quota_v2(folder) for folder in group_folders(root, "")]
    v1 = [_quota_v1(folder) for folder in group_folders(root, "cpu")]
    quotas = [quota for quota in (*v2, *v1) if quota is not None]
    return round(min(quotas), 2) if quotas else None


def memory_limit_bytes(root: Path) -> int | None:
    """How much memory this process may use, None without a limit."""
    v2 = [read_int(folder / "memory.max") for folder in group_folders(root, "")]
    v1 = [read_int(folder / "memory.limit_in_bytes") for folder in group_folders(root, "memory")]
    # Version 1 writes "no limit" as the largest multiple of a page below 2**63.
    limits = [limit for limit in (*v2, *v1) if limit is not None and limit < 2**62]
    return min(limits, default=None)


def group_folders(root: Path, controller: str) -> Iterator[Path]:
    """This process's group and its parents, for every of them may set a limit; `controller` "" is version 2.

    In a container the file may name a path of the host that is not there; the mounted root is the container's group.
    """
    for line in (read_text(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller not in controllers.split(","):
            continue
        inside = PurePosixPath(path.lstrip("/"))
        for mount in _mounts(root, controllers, controller):
            yield from (mount / part for part in (inside, *inside.parents))


def _mounts(root: Path, controllers: str, controller: str) -> list[Path]:
    base = root / "sys/fs/cgroup"
    return [base / controllers, base / controller] if controller else [base, base / "unified"]


def _quota_v2(folder: Path) -> float | None:
    quota, _, period = (read_text(folder / "cpu.max") or "").partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _quota_v1(folder: Path) -> float | None:
    quota, period = read_int(folder / "cpu.cfs_quota_us"), read_int(folder / "cpu.cfs_period_us")
    return quota / period if quota and period and quota > 0 else None
