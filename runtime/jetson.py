"""What decides on a Jetson how fast it computes and which software it has, read from its files."""

import re
from pathlib import Path

from edgewright.runtime.system_files import read_text

_RELEASE = re.compile(r"R(\d+) \(release\), REVISION: ([\d.]+)")
_CONF_MODE = re.compile(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>")


def jetson_linux(root: Path) -> str | None:
    """The release of Jetson Linux, such as "36.4.3", None on other machines."""
    found = _RELEASE.search(read_text(root / "etc/nv_tegra_release") or "")
    return f"{found[1]}.{found[2]}" if found else None


def power_mode(root: Path) -> str | None:
    """The power mode that nvpmodel has set, read from its status and its configuration; None on other machines."""
    number = re.search(r"pmode:(\d+)", read_text(root / "var/lib/nvpmodel/status") or "")
    if number is None:
        return None
    names = dict(_CONF_MODE.findall(read_text(root / "etc/nvpmodel.conf") or ""))
    return names.get(str(int(number[1]))) or f"mode {int(number[1])}"
