"""Speed, memory and size of a bundle on this machine."""

import statistics
from collections.abc import Iterator

from edgewright.pipeline.cold_start import ColdStart, cold_start, has_bytecode
from edgewright.pipeline.device import describe_device
from edgewright.pipeline.frames import benchmark_frames
from edgewright.pipeline.latency import Tell, WarmUp, latency_measurements, measure_runs, warm_up
from edgewright.pipeline.report.schema import BundleIdentity, Measurement, Report, Scalar, utc_now
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import UsageError
from edgewright.runtime.predictor import open_predictor


def benchmark(
    bundle: Bundle,
    *,
    backend: str = "ort",
    precision: str = "fp32",
    threads: int | None = None,
    propose: str | None = None,
    seconds: float = 5.0,
    iterations: int = 50,
    warmup: int | None = None,
    frames: str | None = None,
    cold_start_repeats: int = 3,
    tell: Tell = lambda phase, done: None,
) -> Report:
    """The report of single frames, one after another: at least `iterations` runs and at least `seconds` of them.

    `warmup` None runs until the time of a run is stable. `frames` is a source URI, None the bundle's golden image. Cold
    start and peak memory are medians over fresh processes; 0 repeats leave them out.
    """
    if iterations < 1 or seconds < 0 or cold_start_repeats < 0 or (warmup is not None and warmup < 0):
        raise UsageError("a benchmark needs at least one iteration; seconds, warm-up and repeats are not negative")
    pictures = benchmark_frames(bundle, frames)
    # Before the network is loaded, so that load and clocks are those that the measurement found.
    device = describe_device()
    with open_predictor(bundle, backend=backend, precision=precision, threads=threads, propose=propose) as predictor:
        warm = warm_up(predictor, pictures.images, warmup, most_s=max(seconds, 1.0), tell=tell)
        runs = measure_runs(predictor, pictures.images, seconds=seconds, iterations=iterations, tell=tell)
        engine = dict(predictor.settings)
    starts = []
    for done in range(cold_start_repeats):
        tell("fresh processes", done / cold_start_repeats)
        image = pictures.images[0]
        starts.append(cold_start(bundle, image, backend=backend, precision=precision, threads=threads, propose=propose))
    own: dict[str, Scalar] = {
        "seconds": seconds,
        "iterations": iterations,
        "warmup": "until stable" if warmup is None else warmup,
        "cold_start_repeats": cold_start_repeats,
        "frames": pictures.origin,
        "frame_count": len(pictures.images),
        "frame_size": pictures.size,
        "frames_digest": pictures.digest,
    }
    return Report(
        bundle=BundleIdentity(
            name=bundle.spec.name,
            digest=bundle.digest,
            task=bundle.spec.task,
            precision=str(engine.get("executed_precision", precision)),
        ),
        data=None,
        settings={"benchmark": engine | own},
        device=device.identity,
        software=device.software,
        state={**device.state, "warmup_runs": warm.runs, "runs": len(runs)},
        measurements=(
            *latency_measurements(runs),
            *_cold_start_measurements(starts),
            *_size_measurements(bundle, backend, precision),
        ),
        notes=tuple(_notes(bundle, warm, len(runs), starts)),
        created=utc_now(),
    )


def _cold_start_measurements(starts: list[ColdStart]) -> Iterator[Measurement]:
    """Medians, each of its own."""
    peaks_mib = [start.peak_rss_mib for start in starts if start.peak_rss_mib is not None]
    if starts:
        yield _cost("cold_start", statistics.median(start.seconds for start in starts), "s")
    if peaks_mib:
        yield _cost("peak_rss", statistics.median(peaks_mib), "MiB")


def _size_measurements(bundle: Bundle, backend: str, precision: str) -> Iterator[Measurement]:
    yield _cost("model_size", model_bytes(bundle, backend=backend, precision=precision) / 2**20, "MiB")
    complexity = bundle.manifest.complexity
    if complexity is not None:
        yield _cost("parameters", complexity.parameters, "count")
    if complexity is not None and complexity.gflops is not None:
        yield _cost("gflops", complexity.gflops, "GFLOP")


def model_bytes(bundle: Bundle, *, backend: str, precision: str) -> int:
    """The size on disk of what the backend loads: the model file of every graph and the weights that lie beside it."""
    graphs = sorted({file.graph for file in bundle.files if file.role == "model"})
    models = [bundle.model_file(backend=backend, precision=precision, graph=graph) for graph in graphs]
    kinds = {(model.graph, model.precision, model.target) for model in models}
    weights = [f for f in bundle.files if f.role == "weights" and (f.graph, f.precision, f.target) in kinds]
    return sum(file.size for file in (*models, *weights))


def _cost(name: str, value: float, unit: str) -> Measurement:
    return Measurement(name=name, value=value, unit=unit, higher_is_better=False)


def _notes(bundle: Bundle, warm: WarmUp, runs: int, starts: list[ColdStart]) -> Iterator[str]:
    if warm.stable is False:
        yield f"after {warm.runs} runs of warm-up the time of a run was still changing; close other programs, fix the clocks"
    if runs < 100:
        yield f"p99 of {runs} runs is close to the slowest of them; raise --iterations for a tail worth comparing"
    if any(start.peak_rss_mib is None for start in starts):
        yield "this system does not tell the peak memory of a process, so peak_rss was not measured"
    if starts and not has_bytecode():
        yield "modules have no compiled bytecode (PYTHONDONTWRITEBYTECODE?), so cold_start includes compiling them"
    if bundle.manifest.complexity is None or bundle.manifest.complexity.gflops is None:
        yield "the bundle does not state all of parameters and GFLOPs, so they were left out"
