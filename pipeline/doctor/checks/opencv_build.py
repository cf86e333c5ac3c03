"""OpenCV: which one is imported, what it was built with, and whether it fits NumPy."""

import re
from collections.abc import Iterator

from edgewright.pipeline.doctor import Finding, from_error, known_problem
from edgewright.pipeline.doctor.machine import Machine

_PARTS = ("GStreamer", "FFMPEG", "v4l/v4l2", "NVIDIA CUDA", "GUI")
_PACKAGES = tuple(f"opencv{contrib}-python{head}" for contrib in ("", "-contrib") for head in ("", "-headless"))


def check(machine: Machine) -> Iterator[Finding]:
    """Whether cameras and streams can be read through it; on a Jetson it must be the system's."""
    answer = machine.ask("opencv")
    if answer.value is None:
        yield from_error("opencv", "cannot be used", answer.error)
        return
    built = parse_build_information(str(answer.value["build"]))
    having = ", ".join(part for part in _PARTS if built.get(part)) or "nothing to read videos with"
    details = {
        "version": answer.value["version"],
        "file": answer.value["file"],
        "numpy": answer.value["numpy"],
        **built,
    }
    found = f"{answer.value['version']} with {having}; NumPy {answer.value['numpy']}"
    if machine.jetson is not None and not built.get("GStreamer"):
        yield known_problem(
            "opencv", "opencv-without-gstreamer", f"{found}, without GStreamer: CSI cameras and hardware decoders"
        )
    elif not built.get("GStreamer") and not built.get("FFMPEG"):
        fix = "pip install opencv-python-headless, or the system's python3-opencv"
        yield Finding("opencv", "problem", f"{found}: neither GStreamer nor FFmpeg", fix, details=details)
    else:
        yield Finding("opencv", "ok", found, details=details)
    yield from _several(machine)


def parse_build_information(text: str) -> dict[str, str | None]:
    """Of `cv2.getBuildInformation()` what each part says after YES, None for NO and for a part that is not listed."""
    found: dict[str, str | None] = {}
    for part in _PARTS:
        # Before 4 a part that is there has an empty line and its libraries below it.
        line = re.search(rf"^([ \t]+){re.escape(part)}:[ \t]*(.*)((?:\n\1[ \t]+\S.*)*)", text, re.MULTILINE)
        value = (line[2].strip() or ("YES" if "YES" in line[3] else "NO")) if line else "NO"
        found[part] = None if value.upper().startswith(("NO", "NONE")) else value
    return found


def _several(machine: Machine) -> Iterator[Finding]:
    there = [name for name in _PACKAGES if name in machine.packages]
    if len(there) > 1:
        fix = f"pip uninstall {' '.join(there)}, then install one of them"
        yield Finding("opencv-packages", "note", f"{' and '.join(there)} write the same files; the last one wins", fix)
