"""Temperatures, and the counters of what slows a processor down when it is too hot or draws too much."""

from pathlib import Path

from edgewright.runtime.system_files import read_int, read_text

# What the firmware of a Raspberry Pi reports in get_throttled (its documentation, "vcgencmd").
_RASPBERRY_NOW = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}


def heat_gauges(root: Path) -> dict[str, float]:
    """`NAME_celsius` of every thermal zone; sensors that are off, which report -256 degrees, are left out."""
    zones = sorted((root / "sys/class/thermal").glob("thermal_zone*"))
    readings = [(read_text(zone / "type") or zone.name, read_int(zone / "temp")) for zone in zones]
    return {f"{name}_celsius": value / 1000 for name, value in readings if value is not None and value > -200_000}


def throttle_counters(root: Path) -> dict[str, float]:
    """How often the processor was slowed down since it was started, by heat and by over-current.

    Every core counts the throttling of its whole package, so of the package counters the largest counts.
    """
    cores = root / "sys/devices/system/cpu"
    own = [value for path in cores.glob("cpu[0-9]*/thermal_throttle/core_throttle_count") if (value := read_int(path))]
    package = [
        value for path in cores.glob("cpu[0-9]*/thermal_throttle/package_throttle_count") if (value := read_int(path))
    ]
    # Jetson Orin: https://docs.nvidia.com/jetson, "Jetson Orin ... Series", over-current throttling, oc<n>_event_cnt.
    over = [value for path in (root / "sys/class/hwmon").glob("hwmon*/oc*_event_cnt") if (value := read_int(path))]
    return {"heat_throttles": sum(own) + max(package, default=0), "over_current_throttles": sum(over)}


def firmware_flags(root: Path) -> tuple[str, ...]:
    """What the firmware of a Raspberry Pi complains of right now."""
    text = read_text(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
    try:
        bits = int(text, 16) if text else 0
    except ValueError:
        return ()
    return tuple(words for bit, words in _RASPBERRY_NOW.items() if bits >> bit & 1)
