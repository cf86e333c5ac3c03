"""One bundle on one engine of this machine: golden tensors, what its layers compute in, and how long a frame takes."""

import statistics
from dataclasses import asdict
from typing import Any

from edgewright.pipeline.engine_time import engine_path, engine_times
from edgewright.pipeline.frames import benchmark_frames
from edgewright.pipeline.latency import measure_runs, warm_up
from edgewright.pipeline.verify import verify
from edgewright.runtime.bundle import Bundle, load_bundle
from edgewright.runtime.errors import BundleError
from edgewright.runtime.predictor import open_predictor
from edgewright.runtime.tensorrt.inspector import engine_layers
from edgewright.runtime.tensorrt.inspector import layer_precisions as of_layers

_SECONDS, _RUNS = 2.0, 20


def try_out(path: str, *, backend: str, precision: str) -> dict[str, Any]:
    """`goldens` by tensor, `layers` by their precision (empty where the engine does not tell), `latency_ms`, `settings`.

    `goldens` is None where the bundle has none of that precision.
    """
    bundle = load_bundle(path)
    checks = verify(bundle, backend=backend, precision=precision) if has_golden(bundle, backend, precision) else None
    images = benchmark_frames(bundle, None).images
    with open_predictor(bundle, backend=backend, precision=precision) as predictor:
        warm_up(predictor, images, None, most_s=_SECONDS, tell=_silent)
        runs = measure_runs(predictor, images, seconds=_SECONDS, iterations=_RUNS, tell=_silent)
        layers = layer_precisions(predictor.backend)
        engine = engine_path(predictor.backend)
        settings = dict(predictor.settings)
    alone = engine_times(engine, settings)
    times_ms = sorted(run.total / 1e6 for run in runs)
    return {
        "goldens": None if checks is None else [_finite({**asdict(c), "passed": c.passed}) for c in checks],
        "layers": layers,
        "latency_ms": {
            "runs": len(times_ms),
            "median": round(statistics.median(times_ms), 3),
            "least": round(times_ms[0], 3),
            "most": round(times_ms[-1], 3),
        },
        # Of TensorRT: the engine without host and transfers, by trtexec.
        "engine_ms": None if alone is None else dict(alone.ms.get("compute", {})),
        "settings": settings,
    }


def has_golden(bundle: Bundle, backend: str, precision: str) -> bool:
    """Whether the bundle holds what this backend in this precision is compared with."""
    try:
        bundle.golden(backend=backend, precision=precision)
    except BundleError:
        return False
    return True


def layer_precisions(backend: Any) -> dict[str, str]:
    """What every layer of a backend that tells computes in; of tiles the engine behind them is asked."""
    engine = getattr(backend, "engine", backend)
    if hasattr(engine, "layer_precisions"):
        return dict(engine.layer_precisions())
    # TensorRT's inspector.
    return of_layers(engine_layers(engine.layers())) if hasattr(engine, "layers") else {}


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(v, float) and v == float("inf") else v for key, v in values.items()}


def _silent(phase: str, done: float) -> None:
    """Nobody waits for the progress of a probe."""
