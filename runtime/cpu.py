"""How many processor cores this process may really use."""

import math
import os
from pathlib import Path


def usable_cores(root: Path = Path("/")) -> int:
    """The cores of this process: its affinity, cut down to the container's CPU quota; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_cpu_quota(root)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cgroup_cpu_quota(root: Path = Path("/")) -> float | None:
    """The container's CPU limit in cores, from cgroup v2 or v1; None without one."""
    base = root / "sys/fs/cgroup"
    try:
        quota, period = (base / "cpu.max").read_text().split()[:2]
    except (OSError, ValueError):
        try:
            quota = (base / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (base / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    try:
        cores = float(quota) / float(period)
    except (ValueError, ZeroDivisionError):
        return None
    return cores if cores > 0 else None
