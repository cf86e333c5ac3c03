"""Clocks of the processor's cores and of GPUs that the kernel scales."""

from collections.abc import Iterator
from pathlib import Path

from edgewright.runtime.system_files import read_int


def clock_gauges(root: Path) -> dict[str, float]:
    """`cpuN_mhz` of every core, `cpu_limit_mhz` (the lowest limit of them), and `NAME_mhz` of scaled devices such as GPUs."""
    cores = {folder.parent.name: folder for folder in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq")}
    found = {f"{core}_mhz": mhz for core, folder in cores.items() if (mhz := _mhz(folder / "scaling_cur_freq", 1e3))}
    limits = [mhz for folder in cores.values() if (mhz := _mhz(folder / "scaling_max_freq", 1e3))]
    return {**found, **({"cpu_limit_mhz": min(limits)} if limits else {}), **dict(_devices(root))}


def _devices(root: Path) -> Iterator[tuple[str, float]]:
    """Only GPUs: the memory controllers and codecs that are listed beside them are many and not always awake."""
    for folder in sorted((root / "sys/class/devfreq").glob("*")):
        mhz = _mhz(folder / "cur_freq", 1e6)
        if mhz is not None and any(word in folder.name for word in ("gpu", "gv11b", "gp10b", "ga10b", "mali")):
            yield f"{folder.name}_mhz", mhz


def _mhz(path: Path, divisor: float) -> float | None:
    value = read_int(path)
    return None if value is None else value / divisor
