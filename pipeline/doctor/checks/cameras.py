"""Cameras: what is plugged in, what it gives, and whether this user may open it."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgewright.pipeline.doctor import Finding, from_error, known_problem
from edgewright.pipeline.doctor.machine import Machine

# Raw sensor formats, which only the camera service of a Jetson makes pictures of: RG10, BA12, ...
_RAW = ("RG", "BG", "GR", "GB", "BA", "pR", "pB", "pG")
# What reads CSI cameras and decodes streams in hardware on a Jetson.
_ELEMENTS = ("nvarguscamerasrc", "nvv4l2decoder")


def check(machine: Machine) -> Iterator[Finding]:
    """One finding for each device, or a note that there is none."""
    answer = machine.ask("cameras")
    if answer.value is None:
        yield from_error("cameras", "cannot be listed", answer.error, status="unknown")
        return
    if not answer.value:
        yield Finding("cameras", "note", "no /dev/video*: no camera is plugged in, or the container was not given one")
    yield from map(_finding, answer.value)
    if machine.jetson is not None and machine.root == Path("/"):
        yield from _elements()


def _finding(device: dict[str, Any]) -> Finding:
    number = str(device["path"]).removeprefix("/dev/")
    if device["error"] is not None:
        if "ermission" in str(device["error"]):
            return known_problem(number, "camera-permission", f"no permission for {device['path']}")
        return from_error(number, f"{device['path']} cannot be opened", str(device["error"]))
    shown = ", ".join(f"{code} up to {size}" for code, size in device["formats"].items()) or "no format listed"
    found = f"{device['name']}: {shown}"
    raw = device["formats"] and all(code.startswith(_RAW) for code in device["formats"])
    if raw:
        fix = "read it through GStreamer's nvarguscamerasrc, which needs the system's OpenCV"
        return Finding(number, "note", f"{found}: raw pictures of a CSI sensor", fix, details=device)
    return Finding(number, "ok", found, details=device)


def _elements() -> Iterator[Finding]:
    program = shutil.which("gst-inspect-1.0")
    if program is None:
        fix = "sudo apt install gstreamer1.0-tools nvidia-l4t-gstreamer"
        yield Finding("gstreamer", "note", "gst-inspect-1.0 is not there, so NVIDIA's plugins were not looked for", fix)
        return
    missing = [name for name in _ELEMENTS if not _exists(program, name)]
    if missing:
        yield known_problem(
            "gstreamer", "opencv-without-gstreamer", f"GStreamer has no {', '.join(missing)}", status="note"
        )
    else:
        yield Finding("gstreamer", "ok", f"{' and '.join(_ELEMENTS)} are there")


def _exists(program: str, element: str) -> bool:
    try:
        return subprocess.run([program, "--exists", element], timeout=30, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
