"""A process of its own that opens a bundle, finds the first detections, and says when and with how much memory.

`python -m edgewright.pipeline.first_detections BUNDLE IMAGE.npy BACKEND PRECISION THREADS WISHES` (THREADS 0: the backend's
choice; WISHES: further keywords of `open_predictor` as JSON) prints one line of JSON. It imports what a program on the device
imports, and nothing of the command line.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from edgewright.runtime.bundle import load_bundle
from edgewright.runtime.predictor import open_predictor
from edgewright.runtime.spec import PostprocessSpec


def main(arguments: list[str]) -> None:
    """Write {"ready_s": CLOCK_MONOTONIC at the first detections, "peak_rss_kib": of this process, or null} to stdout."""
    path, image, backend, precision, threads, wishes = arguments
    further = json.loads(wishes)
    if "postprocess" in further:
        further["postprocess"] = PostprocessSpec.model_validate(further["postprocess"])
    bundle = load_bundle(path)
    with open_predictor(
        bundle, backend=backend, precision=precision, threads=int(threads) or None, **further
    ) as predict:
        predict(np.load(image))
        answer = {"ready_s": time.monotonic(), "peak_rss_kib": peak_rss_kib()}
    sys.stdout.write(json.dumps(answer) + "\n")


def peak_rss_kib(status: Path = Path("/proc/self/status")) -> int | None:
    """The high-water mark of this process alone: ru_maxrss starts at that of the process that forked it."""
    try:
        lines = status.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)


if __name__ == "__main__":
    main(sys.argv[1:])
