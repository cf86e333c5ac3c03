"""The machine that a number was measured on: what identifies it, what state it is in, which software runs on it."""

import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from pydantic import JsonValue

from edgewright.pipeline.device_cpu import (
    Block,
    cpu_blocks,
    cpu_model,
    isa,
    logical_cores,
    physical_cores,
    usable_cores,
)
from edgewright.pipeline.ledger.jetson import jetpack, jetson_linux, parse_jetson_clocks, parse_nvpmodel, power_mode
from edgewright.runtime.control_groups import cpu_quota, memory_limit_bytes
from edgewright.runtime.system_files import read_int, read_pairs, read_text

_PACKAGES = ("edgewright", "numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt")


@dataclass(frozen=True)
class Device:
    """`identity` must agree before two measurements may be compared; `state` and `software` explain differences."""

    identity: dict[str, JsonValue]
    state: dict[str, JsonValue]
    software: dict[str, str]


def describe_device(root: Path = Path("/")) -> Device:
    """This machine, read from /proc and /sys below `root`; what is not there is None, never an error."""
    return Device(identity=_identity(root), state=_state(root), software=_software(root))


def _identity(root: Path) -> dict[str, JsonValue]:
    blocks = cpu_blocks(root)
    limit = memory_limit_bytes(root)
    mode = _power_mode(root)
    return {
        "cpu_model": cpu_model(blocks),
        "board": _board(root),
        "accelerator": _accelerator(root),
        "arch": platform.machine(),
        "os": platform.system(),
        "physical_cores": physical_cores(root, blocks),
        "logical_cores": logical_cores(blocks),
        "usable_cores": len(usable_cores(root)) or None,
        "cpu_quota": cpu_quota(root),
        "isa": list[JsonValue](isa(blocks)),
        # Whole GiB: the kernel keeps a part that changes from version to version.
        "memory_gib": _memory_gib(root, "MemTotal", digits=0),
        "memory_limit_gib": None if limit is None else round(limit / 2**30, 2),
        "virtual_machine": _is_virtual(root, blocks),
        # Only a Jetson has one, and then it decides which cores run and how fast.
        **({"power_mode": mode} if mode else {}),
    }


def _state(root: Path) -> dict[str, JsonValue]:
    policies = [root / f"sys/devices/system/cpu/cpu{core}/cpufreq" for core in usable_cores(root)]
    governors = sorted({text for policy in policies if (text := read_text(policy / "scaling_governor"))})
    load = read_text(root / "proc/loadavg")
    return {
        "governor": ", ".join(governors) or None,
        "frequency_mhz": _mean_mhz(policies, "scaling_cur_freq") or _reported_mhz(cpu_blocks(root)),
        "frequency_limit_mhz": _mean_mhz(policies, "scaling_max_freq"),
        "frequency_maximum_mhz": _mean_mhz(policies, "cpuinfo_max_freq"),
        "load_1min": float(load.split()[0]) if load else None,
        "memory_available_gib": _memory_gib(root, "MemAvailable", digits=2),
        "container": _container(root),
        **_locked_clocks(root),
    }


def _software(root: Path) -> dict[str, str]:
    release = read_pairs(root / "etc/os-release", "=")
    driver = re.search(r"\d+\.\d+(\.\d+)?", read_text(root / "proc/driver/nvidia/version") or "")
    jetson = jetson_linux(root)
    found = {
        "python": platform.python_version(),
        "kernel": read_text(root / "proc/sys/kernel/osrelease"),
        "distribution": release.get("PRETTY_NAME", "").strip('"'),
        "l4t": (read_text(root / "etc/nv_tegra_release") or "").partition(", GCID")[0].lstrip("# "),
        "jetpack": jetpack(jetson) if jetson else None,
        "nvidia_driver": driver.group() if driver else None,
        "opencv": _opencv_version(),
        **{package: _installed(package) for package in _PACKAGES},
    }
    return {name: version for name, version in found.items() if version}


def _power_mode(root: Path) -> str | None:
    """By nvpmodel, which knows what is in force; by its files where it is not there to ask."""
    return parse_nvpmodel(_printed(root, "nvpmodel", "-q")) or power_mode(root)


def _locked_clocks(root: Path) -> dict[str, JsonValue]:
    """Whether `jetson_clocks` holds all clocks at their maximum; only root is told."""
    clocks = parse_jetson_clocks(_printed(root, "jetson_clocks", "--show"))
    return {"jetson_clocks": "locked" if clocks.locked else "free"} if clocks.mhz else {}


def _printed(root: Path, *command: str) -> str:
    """What a program of this Jetson prints, "" on other machines and when it fails."""
    if root != Path("/") or jetson_linux(root) is None:
        return ""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _opencv_version() -> str | None:
    """Asked of the module where it is loaded: a system OpenCV has no package metadata, and there are four packages."""
    version = getattr(sys.modules.get("cv2"), "__version__", None)
    names = (f"opencv{contrib}-python{headless}" for contrib in ("", "-contrib") for headless in ("", "-headless"))
    return version or next((found for name in names if (found := _installed(name))), None)


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _board(root: Path) -> str | None:
    dmi = root / "sys/class/dmi/id"
    names = [name for key in ("sys_vendor", "product_name") if (name := read_text(dmi / key))]
    return read_text(root / "proc/device-tree/model") or " ".join(names) or None


def _accelerator(root: Path) -> str | None:
    """NVIDIA GPUs by the driver's files, which containers see too; on a Jetson the chip, whose GPU has no such file."""
    compatible = (read_text(root / "proc/device-tree/compatible") or "").splitlines()
    chips = [name.partition(",")[2] for name in compatible if name.startswith("nvidia,tegra")]
    gpus = sorted(
        model
        for path in (root / "proc/driver/nvidia/gpus").glob("*/information")
        if (model := read_pairs(path).get("Model"))
    )
    return ", ".join(gpus) or next(iter(chips), None)


def _is_virtual(root: Path, blocks: list[Block]) -> bool:
    flagged = any("hypervisor" in block.get("flags", "").split() for block in blocks)
    return flagged or any((root / path).exists() for path in ("sys/hypervisor/type", "proc/device-tree/hypervisor"))


def _container(root: Path) -> str | None:
    marks = {"kubernetes": "var/run/secrets/kubernetes.io", "docker": ".dockerenv", "podman": "run/.containerenv"}
    return next((name for name, path in marks.items() if (root / path).exists()), None)


def _memory_gib(root: Path, key: str, *, digits: int) -> float | None:
    value = read_pairs(root / "proc/meminfo").get(key)
    return round(int(value.split()[0]) / 2**20, digits) if value else None


def _mean_mhz(policies: list[Path], name: str) -> int | None:
    values = [khz for policy in policies if (khz := read_int(policy / name)) is not None]
    return round(sum(values) / len(values) / 1000) if values else None


def _reported_mhz(blocks: list[Block]) -> int | None:
    values = [float(block["cpu MHz"]) for block in blocks if "cpu MHz" in block]
    return round(sum(values) / len(values)) if values else None
