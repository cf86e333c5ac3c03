"""One bundle on one engine of this machine: golden tensors, what its layers compute in, and how long a frame takes."""

import statistics
from dataclasses import asdict
from typing import Any

from edgewright.pipeline.frames import benchmark_frames
from edgewright.pipeline.latency import measure_runs, warm_up
from edgewright.pipeline.verify import verify
from edgewright.runtime.bundle import load_bundle
from edgewright.runtime.predictor import open_predictor

_SECONDS, _RUNS = 2.0, 20


def try_out(path: str, *, backend: str, precision: str) -> dict[str, Any]:
    """`goldens` by tensor, `layers` by their precision (empty where the engine does not tell), `latency_ms`, `settings`."""
    bundle = load_bundle(path)
    checks = verify(bundle, backend=backend, precision=precision)
    images = benchmark_frames(bundle, None).images
    with open_predictor(bundle, backend=backend, precision=precision) as predictor:
        warm_up(predictor, images, None, most_s=_SECONDS, tell=_silent)
        runs = measure_runs(predictor, images, seconds=_SECONDS, iterations=_RUNS, tell=_silent)
        layers = layer_precisions(predictor.backend)
        settings = dict(predictor.settings)
    times_ms = sorted(run.total / 1e6 for run in runs)
    return {
        "goldens": [_finite({**asdict(check), "passed": check.passed}) for check in checks],
        "layers": layers,
        "latency_ms": {
            "runs": len(times_ms),
            "median": round(statistics.median(times_ms), 3),
            "least": round(times_ms[0], 3),
            "most": round(times_ms[-1], 3),
        },
        "settings": settings,
    }


def layer_precisions(backend: Any) -> dict[str, str]:
    """What every layer of a backend that tells computes in; of tiles the engine behind them is asked."""
    tell = getattr(getattr(backend, "engine", backend), "layer_precisions", None)
    return {} if tell is None else dict(tell())


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(v, float) and v == float("inf") else v for key, v in values.items()}


def _silent(phase: str, done: float) -> None:
    """Nobody waits for the progress of a probe."""
