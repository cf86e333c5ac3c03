"""How many processor cores this process may really use."""

import math
import os
from pathlib import Path

from edgewright.runtime.control_groups import cpu_quota


def usable_cores(root: Path = Path("/")) -> int:
    """The cores of this process: its affinity, cut down to the container's CPU quota; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(root)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))
