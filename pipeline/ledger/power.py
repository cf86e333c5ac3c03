"""Electrical power: RAPL counters of Intel and AMD processors, INA3221 sensors of Jetson boards."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from edgewright.runtime.system_files import read_int, read_text

# Rails that together feed a whole module, by board (NVIDIA Jetson developer guides, "Software-Based Power Consumption
# Modeling"): Orin Nano, Orin NX and Xavier NX; AGX Orin; AGX Xavier with the names of JetPack 4 and 5.
_WHOLE_MODULE = (
    ("VDD_IN",),
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
)


def energy_counters(root: Path) -> dict[str, float]:
    """`NAME_joules` of every processor package since some time in the past; empty where they may not be read (root only)."""
    found = {}
    for zone in _packages(root):
        energy_uj = read_int(zone / "energy_uj")
        if energy_uj is not None:
            found[f"{read_text(zone / 'name') or zone.name}_joules"] = energy_uj / 1e6
    return found


def energy_ranges(root: Path) -> dict[str, float]:
    """Where the counters of `energy_counters` start again from 0, in joules."""
    ranges = {read_text(zone / "name") or zone.name: read_int(zone / "max_energy_range_uj") for zone in _packages(root)}
    return {f"{name}_joules": value / 1e6 for name, value in ranges.items() if value}


def rail_gauges(root: Path) -> dict[str, float]:
    """`RAIL_watts` of every labelled channel of the INA3221 sensors: voltage times current, or power where it is given."""
    found = {}
    for sensor in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if not (read_text(sensor / "name") or "").startswith("ina3221"):
            continue
        for label in sorted(sensor.glob("in*_label")):
            channel = label.name.removeprefix("in").removesuffix("_label")
            millivolts, milliamperes = (read_int(sensor / f"{kind}{channel}_input") for kind in ("in", "curr"))
            name = read_text(label)
            # Channel 7 is the sum of the shunt voltages, which has no current of its own.
            if name and name != "NC" and millivolts is not None and milliamperes is not None:
                found[f"{name}_watts"] = millivolts * milliamperes / 1e6
    return found


def module_rails(rails: Mapping[str, float]) -> tuple[str, ...]:
    """The names of the rails that together are the power of the whole module; none when they are unknown."""
    return next((names for names in _WHOLE_MODULE if all(f"{name}_watts" in rails for name in names)), ())


def _packages(root: Path) -> Iterator[Path]:
    """Top zones of the processor: their parts (cores, DRAM) are inside them, and psys holds the packages again."""
    for zone in sorted((root / "sys/class/powercap").glob("*-rapl:*")):
        if zone.name.count(":") == 1 and (read_text(zone / "name") or "").startswith("package"):
            yield zone
