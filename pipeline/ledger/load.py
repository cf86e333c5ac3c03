"""Who else was at work: other programs, the hypervisor, the container's limits, a shortage of memory."""

import os
from pathlib import Path

import psutil

from edgewright.runtime.control_groups import group_folders
from edgewright.runtime.system_files import pairs, read_text


def load_counters(root: Path) -> dict[str, float]:
    """Seconds of processor time since some time in the past: of all programs, of this one, and stolen; and of waiting."""
    return {
        **_machine_seconds(root),
        "own_seconds": own_seconds(),
        **_quota_seconds(root),
        **_pressure_seconds(root),
    }


def own_seconds() -> float:
    """The processor time of this process and of all that it started."""
    own = psutil.Process()
    return sum(map(_seconds, (own, *own.children(recursive=True))))


def _seconds(process: psutil.Process) -> float:
    try:
        return float(sum(process.cpu_times()[:4]))
    except psutil.Error:  # it ended just now, and its time is counted with its parent's
        return 0.0


def _machine_seconds(root: Path) -> dict[str, float]:
    """The first line of /proc/stat (proc(5)): user nice system idle iowait irq softirq steal, in ticks; user holds guest."""
    words = (read_text(root / "proc/stat") or "").partition("\n")[0].split()
    if len(words) < 8 or words[0] != "cpu":
        return {}
    user, nice, system, _, _, irq, softirq = (int(word) for word in words[1:8])
    stolen = int(words[8]) if len(words) > 8 else 0
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    return {"busy_seconds": (user + nice + system + irq + softirq) * tick_s, "stolen_seconds": stolen * tick_s}


def _quota_seconds(root: Path) -> dict[str, float]:
    """How long the CPU quota of a control group has kept this process waiting: cpu.stat, in us (v2) or ns (v1)."""
    waits = []
    for folder in (*group_folders(root, ""), *group_folders(root, "cpu")):
        values = pairs(read_text(folder / "cpu.stat") or "", " ")
        if "throttled_usec" in values:
            waits.append(int(values["throttled_usec"]) / 1e6)
        elif "throttled_time" in values:
            waits.append(int(values["throttled_time"]) / 1e9)
    return {"quota_wait_seconds": max(waits)} if waits else {}


def _pressure_seconds(root: Path) -> dict[str, float]:
    """How long some program had to wait for memory (kernel documentation, "PSI"); `total` is in us."""
    for line in (read_text(root / "proc/pressure/memory") or "").splitlines():
        kind, _, rest = line.partition(" ")
        total = pairs("\n".join(rest.split()), "=").get("total", "")
        if kind == "some" and total.isdigit():
            return {"memory_wait_seconds": int(total) / 1e6}
    return {}
