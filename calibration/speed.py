"""Models timed against each other in one run: their order in time is mixed, so that a disturbance meets all alike."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgewright.calibration.observe import Feeds
from edgewright.runtime.backends import Backend, BackendOptions, open_backend

_WARMUP = 5


def inference_ms(
    models: Mapping[str, tuple[Path, str]],
    feeds: Sequence[Feeds],
    *,
    backend: str,
    rounds: int = 40,
    threads: int | None = None,
    seed: int = 0,
) -> dict[str, npt.NDArray[np.float64]]:
    """The times (rounds,) in milliseconds of every model (file, precision), one inference of each in every round."""
    order = np.random.default_rng(seed)
    with ExitStack() as stack:
        engines: dict[str, Backend] = {
            name: stack.enter_context(open_backend(backend, path, BackendOptions(precision=precision, threads=threads)))
            for name, (path, precision) in models.items()
        }
        for engine in engines.values():
            for _ in range(_WARMUP):
                engine.infer(feeds[0])
        names, times = list(engines), np.zeros((len(engines), rounds))
        for turn in range(rounds):
            for index in order.permutation(len(names)):
                start = time.perf_counter_ns()
                engines[names[index]].infer(feeds[turn % len(feeds)])
                times[index, turn] = (time.perf_counter_ns() - start) / 1e6
    return dict(zip(names, times, strict=True))


def ratio(
    candidate_ms: npt.NDArray[np.float64],
    baseline_ms: npt.NDArray[np.float64],
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, tuple[float, float]]:
    """Median of candidate over median of baseline, with the percentile interval of a bootstrap over the rounds."""
    rounds = len(candidate_ms)
    picks = np.random.default_rng(seed).integers(0, rounds, (1000, rounds))
    resampled = np.median(candidate_ms[picks], axis=1) / np.median(baseline_ms[picks], axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, (tail, 1 - tail))
    return float(np.median(candidate_ms) / np.median(baseline_ms)), (float(low), float(high))
