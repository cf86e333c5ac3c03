"""How long a fresh process takes to its first detections, and how much memory."""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path

import numpy as np

from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import BackendError
from edgewright.runtime.results import Image
from edgewright.runtime.spec import PostprocessSpec

_TIMEOUT_S = 600


@dataclass(frozen=True)
class Wishes:
    """What a predictor is opened with beside bundle and engine; None means the bundle's own."""

    propose: str | None = None
    postprocess: PostprocessSpec | None = None
    tiles: str | None = None
    batch: int = 1


@dataclass(frozen=True)
class ColdStart:
    """Seconds from before the process exists to its first detections, and its peak resident memory (None: unknown)."""

    seconds: float
    peak_rss_mib: float | None


def cold_start(
    bundle: Bundle,
    image: Image,
    *,
    backend: str,
    precision: str,
    threads: int | None,
    wishes: Wishes | None = None,
) -> ColdStart:
    """What a process of its own measures of itself with the bundle and the image; BackendError when it fails."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.npy"
        np.save(path, image)
        return _run([str(bundle.path), str(path), backend, precision, str(threads or 0), _as_text(wishes or Wishes())])


def has_bytecode() -> bool:
    """Whether this Python finds its modules compiled, by the example of the largest that every bundle needs."""
    return Path(cache_from_source(np.__file__)).exists()


def _as_text(wishes: Wishes) -> str:
    given = {"propose": wishes.propose, "tiles": wishes.tiles, "batch": wishes.batch}
    if wishes.postprocess is not None:
        return json.dumps({**given, "postprocess": wishes.postprocess.model_dump(mode="json")})
    return json.dumps(given)


def _run(words: list[str]) -> ColdStart:
    command = [sys.executable, "-m", "edgewright.pipeline.first_detections", *words]
    # CLOCK_MONOTONIC is one clock for all processes, so the start of the interpreter counts.
    started_s = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
        answer = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired as err:
        raise BackendError(f"a fresh process had no detections after {_TIMEOUT_S} s; try a smaller network") from err
    except subprocess.CalledProcessError as err:
        reason = (err.stderr.strip().splitlines() or [f"exit status {err.returncode}"])[-1]
        raise BackendError(f"a fresh process failed before its first detections: {reason}") from err
    except (ValueError, IndexError) as err:
        raise BackendError(f"a fresh process did not report its first detections ({err})") from err
    peak_kib = answer["peak_rss_kib"]
    return ColdStart(answer["ready_s"] - started_s, None if peak_kib is None else peak_kib / 1024)
