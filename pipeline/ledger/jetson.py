"""What Jetson boards say of themselves: the release, the power mode, locked clocks, and the lines of tegrastats."""

import re
from dataclasses import dataclass, field

from edgewright.runtime.jetson import jetson_linux as jetson_linux
from edgewright.runtime.jetson import power_mode as power_mode

# "Jetson Linux Archive" (developer.nvidia.com/embedded/jetson-linux-archive): the JetPack that brought each Jetson Linux.
_JETPACKS = {
    "32.4": "4.4", "32.5": "4.5", "32.6": "4.6", "32.7": "4.6", "35.1": "5.0.2", "35.2": "5.1", "35.3": "5.1.1",
    "35.4": "5.1.2", "35.5": "5.1.3", "35.6": "5.1.4", "36.2": "6.0 DP", "36.3": "6.0", "36.4": "6.1",
    "36.4.3": "6.2", "36.4.4": "6.2.1", "38.2": "7.0",
}  # fmt: skip
_MAJOR = {"32": "4", "34": "5", "35": "5", "36": "6", "38": "7", "39": "7"}

_CORE = re.compile(r"cpu(\d+):\s+Online=(\d).*?MinFreq=(\d+) MaxFreq=(\d+) CurrentFreq=(\d+)")
_UNIT = re.compile(r"^(GPU|EMC)\s+MinFreq=(\d+) MaxFreq=(\d+) CurrentFreq=(\d+)", re.MULTILINE)
_OVERRIDE = re.compile(r"FreqOverride=(\d)")

# tegrastats: "RAM 6185/7620MB", "12%@1190", "GR3D_FREQ 63%@[621]", "cpu@53.9C" or "cpu@52.9C/52.9C", and a rail's present
# and mean power, "VDD_IN 12479mW/12479mW" since JetPack 5, "VDD_IN 3140/3208" before, and a third number for the peak in 7.
_MEMORY = re.compile(r"\bRAM (\d+)/(\d+)MB")
_CORES = re.compile(r"\bCPU \[([^\]]*)\]")
_LOAD = re.compile(r"(\d+)%(?:@\[?(\d+))?")
_GPU = re.compile(r"\bGR3D_FREQ (\S+)")
_CELSIUS = re.compile(r"\b([A-Za-z]\w*)@(-?[\d.]+)C\b")
_RAIL = re.compile(r"(?<!\S)([A-Z][A-Z0-9_]*) (\d+)(?:mW)?/\d+(?:mW)?(?:/\d+mW)?(?!\S)")


@dataclass(frozen=True)
class Tegrastats:
    """One line of tegrastats: memory in MB, load and clock of every core (None: switched off), of the GPU, and sensors."""

    memory_used_mb: int
    memory_mb: int
    core_loads: tuple[int | None, ...] = ()
    core_mhz: tuple[int | None, ...] = ()
    gpu_load: int | None = None
    gpu_mhz: int | None = None
    celsius: dict[str, float] = field(default_factory=dict)
    rails_mw: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Clocks:
    """What `jetson_clocks --show` shows: (minimum, maximum, current) in MHz of each online core, of "GPU" and "EMC"."""

    mhz: dict[str, tuple[float, float, float]]
    memory_locked: bool | None

    @property
    def locked(self) -> bool:
        """Whether every clock stands at its maximum, as after `jetson_clocks`; of the memory, its override says so."""
        ranges = [value for name, value in self.mhz.items() if name != "EMC"]
        return bool(ranges) and all(low == high for low, high, _ in ranges) and self.memory_locked is not False


def parse_tegrastats(line: str) -> Tegrastats | None:
    """The readings of one line; None for a line without memory, which none of tegrastats is."""
    memory = _MEMORY.search(line)
    if memory is None:
        return None
    cores = _CORES.search(line)
    loads = [_LOAD.fullmatch(core.strip()) for core in cores[1].split(",")] if cores else []
    gpu = _GPU.search(line)
    gpu_load = _LOAD.match(gpu[1]) if gpu else None
    return Tegrastats(
        memory_used_mb=int(memory[1]),
        memory_mb=int(memory[2]),
        core_loads=tuple(int(load[1]) if load else None for load in loads),
        core_mhz=tuple(int(load[2]) if load and load[2] else None for load in loads),
        gpu_load=int(gpu_load[1]) if gpu_load else None,
        gpu_mhz=_gpu_mhz(gpu[1]) if gpu else None,
        # A sensor that is switched off reads -256.
        celsius={name: float(value) for name, value in _CELSIUS.findall(line) if float(value) > -200},
        rails_mw={name: int(value) for name, value in _RAIL.findall(line) if name not in ("NC", "RAM", "SWAP", "IRAM")},
    )


def parse_nvpmodel(text: str) -> str | None:
    """The power mode, such as "MAXN" or "MODE_15W_6CORE", of what `nvpmodel -q` prints, whatever it warns of."""
    found = re.search(r"NV Power Mode:\s*(\S+)", text)
    return found[1] if found else None


def parse_jetson_clocks(text: str) -> Clocks:
    """The clocks of what `jetson_clocks --show` prints."""
    mhz = {f"cpu{n}": _range(values, 1e3) for n, online, *values in _CORE.findall(text) if online == "1"}
    mhz |= {name: _range(values, 1e6) for name, *values in _UNIT.findall(text)}
    override = _OVERRIDE.search(text)
    return Clocks(mhz, override[1] == "1" if override else None)


def jetpack(release: str) -> str | None:
    """The JetPack that a release of Jetson Linux belongs to, its major number where the release is not known."""
    major, minor = release.split(".")[:2]
    return _JETPACKS.get(release) or _JETPACKS.get(f"{major}.{minor}") or _MAJOR.get(major)


def _gpu_mhz(text: str) -> int | None:
    """Of "0%@[1300,1300]", "10%@621" or "@[1000,1000]" the first clock."""
    clock = re.search(r"@\[?(\d+)", text)
    return int(clock[1]) if clock else None


def _range(values: list[str], divisor: float) -> tuple[float, float, float]:
    low, high, current = (int(value) / divisor for value in values)
    return low, high, current
