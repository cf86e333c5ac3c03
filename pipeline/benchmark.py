"""Speed, memory, power and size of a bundle on this machine."""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgewright.pipeline.cold_start import ColdStart, Wishes, cold_start, has_bytecode
from edgewright.pipeline.device import describe_device
from edgewright.pipeline.engine_time import engine_measurements, engine_path, engine_times
from edgewright.pipeline.frames import Frames, benchmark_frames
from edgewright.pipeline.interleaved import Effort, Side, measure_interleaved
from edgewright.pipeline.latency import Run, Tell, latency_measurements, measure_runs, warm_up
from edgewright.pipeline.ledger.disturbance import disturbances
from edgewright.pipeline.ledger.sampling import Ledger, Record
from edgewright.pipeline.report.schema import Against, Measurement, Report, Scalar, identity_of, utc_now
from edgewright.pipeline.scenarios import Name, ScenarioRun, run_scenario
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import UsageError
from edgewright.runtime.predictor import Predictor, open_predictor
from edgewright.runtime.spec import PostprocessSpec


@dataclass(frozen=True)
class _Speed:
    """What was run, with what the engine used; `stable`: whether the time of a run had come to rest, None: not watched.

    `engine` is the file of a TensorRT engine.
    """

    runs: list[Run]
    settings: Mapping[str, Scalar]
    warmup_runs: int
    stable: bool | None
    against: Against | None = None
    scenario: ScenarioRun | None = None
    engine: Path | None = None


def benchmark(
    bundle: Bundle,
    *,
    backend: str = "ort",
    precision: str = "fp32",
    threads: int | None = None,
    propose: str | None = None,
    postprocess: PostprocessSpec | None = None,
    tiles: str | None = None,
    batch: int = 1,
    seconds: float = 5.0,
    iterations: int = 50,
    warmup: int | None = None,
    frames: str | None = None,
    cold_start_repeats: int = 3,
    against: Side | None = None,
    scenario: Name | None = None,
    tell: Tell = lambda phase, done: None,
) -> Report:
    """The report of single frames, or batches, one after another: at least `iterations` runs and at least `seconds` of them.

    `warmup` None runs until the time of a run is stable. `frames` is a source URI, None the bundle's golden image. Cold
    start and peak memory are medians over fresh processes; 0 repeats leave them out. With a baseline `against`, both are
    run in turn. A `scenario` is run for `seconds` more.
    """
    wishes = Wishes(propose, postprocess, tiles, batch)
    _refuse_together(wishes, in_turn=against is not None, scenario=scenario)
    if iterations < 1 or seconds < 0 or cold_start_repeats < 0 or (warmup is not None and warmup < 0):
        raise UsageError("a benchmark needs at least one iteration; seconds, warm-up and repeats are not negative")
    pictures = benchmark_frames(bundle, frames)
    # Before the network is loaded, so that load and clocks are those that the measurement found.
    device = describe_device()
    own = Side(bundle, backend, precision)
    effort = Effort(threads, seconds, iterations, warmup)
    with Ledger() as ledger:
        if against is not None:
            speed = _in_turn(own, against, pictures, effort, tell)
        else:
            speed = _alone(own, pictures, effort, scenario, tell, wishes)
    record = ledger.record()
    # After the ledger is closed: the power was that of frames, and this is the GPU alone.
    alone = engine_times(speed.engine, speed.settings)
    starts = []
    for done in range(cold_start_repeats):
        tell("fresh processes", done / cold_start_repeats)
        image = pictures.images[0]
        starts.append(cold_start(bundle, image, backend=backend, precision=precision, threads=threads, wishes=wishes))
    settings: dict[str, Scalar] = {
        "seconds": seconds,
        "iterations": iterations,
        "warmup": "until stable" if warmup is None else warmup,
        "cold_start_repeats": cold_start_repeats,
        "frames": pictures.origin,
        "frame_count": len(pictures.images),
        "frame_size": pictures.size,
        "frames_digest": pictures.digest,
    }
    disturbed = disturbances(record)
    return Report(
        bundle=identity_of(bundle, speed.settings, precision),
        data=None,
        settings={"benchmark": {**speed.settings, **settings}},
        device=device.identity,
        software=device.software,
        state={
            **device.state,
            "warmup_runs": speed.warmup_runs,
            "runs": len(speed.runs),
            "disturbed": list(disturbed),
            "power_source": record.power[1] if record.power else None,
            "ledger": record.as_json(),
        },
        measurements=(
            *latency_measurements(speed.runs, batch),
            *engine_measurements(alone),
            *([speed.scenario.measurement] if speed.scenario else []),
            *_power_measurements(record, speed, batch),
            *_cold_start_measurements(starts),
            *_size_measurements(bundle, backend, precision),
        ),
        against=speed.against,
        notes=(*_notes(bundle, speed, starts), *(f"disturbed: {reason}" for reason in disturbed)),
        created=utc_now(),
    )


def _refuse_together(wishes: Wishes, *, in_turn: bool, scenario: Name | None) -> None:
    """UsageError for what cannot be measured in one run."""
    if in_turn and scenario is not None:
        raise UsageError("a scenario is run alone; measure it without a baseline to run in turn")
    if in_turn and wishes.propose is not None:
        raise UsageError("bundles that run in turn propose regions by their own methods; leave --propose out")
    if in_turn and (wishes.postprocess is not None or wishes.tiles is not None):
        raise UsageError("bundles that run in turn are run as their manifests say; leave --nms and --tiles out")
    if wishes.batch > 1 and (in_turn or scenario is not None):
        raise UsageError(
            "bundles in turn and scenarios run one image at a time; leave --batch out, or measure without them"
        )


def _alone(side: Side, pictures: Frames, effort: Effort, scenario: Name | None, tell: Tell, wishes: Wishes) -> _Speed:
    def opened(threads: int | None) -> Predictor:
        return open_predictor(
            side.bundle,
            backend=side.backend,
            precision=side.precision,
            threads=threads,
            propose=wishes.propose,
            postprocess=wishes.postprocess,
            tiles=wishes.tiles,
            batch=wishes.batch,
        )

    images, seconds = pictures.images, effort.seconds
    with opened(effort.threads) as predictor:
        warm = warm_up(predictor, images, effort.warmup, most_s=max(seconds, 1.0), tell=tell)
        runs = measure_runs(predictor, images, seconds=seconds, iterations=effort.iterations, tell=tell)
        settings = dict(predictor.settings)
        engine = engine_path(predictor.backend)
    played = None
    if scenario is not None:
        played = run_scenario(scenario, opened, images, threads=effort.threads, seconds=seconds, tell=tell)
    return _Speed(runs, settings, warm.runs, warm.stable, scenario=played, engine=engine)


def _in_turn(own: Side, against: Side, pictures: Frames, effort: Effort, tell: Tell) -> _Speed:
    found = measure_interleaved(own, against, pictures.images, effort, tell=tell)
    return _Speed(found.runs, found.settings, found.warmup_runs, found.stable, against=found.against)


def _power_measurements(record: Record, speed: _Speed, batch: int) -> Iterator[Measurement]:
    """The mean power of the device, and the energy of a frame where nothing else was run meanwhile."""
    if record.power is None:
        return
    watts = record.power[0]
    yield _cost("watts", watts, "W")
    if speed.against is None and speed.scenario is None:
        frame_s = statistics.fmean(run.total for run in speed.runs) / 1e9 / batch
        yield _cost("energy_per_frame", watts * frame_s, "J")


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


def _notes(bundle: Bundle, speed: _Speed, starts: list[ColdStart]) -> Iterator[str]:
    if speed.stable is False:
        yield f"after {speed.warmup_runs} runs of warm-up the time of a run was still changing; close other programs, fix the clocks"
    if len(speed.runs) < 100:
        yield f"p99 of {len(speed.runs)} runs is close to the slowest of them; raise --iterations for a tail worth comparing"
    if speed.scenario is not None and speed.scenario.missing:
        yield f"shorter than MLPerf wants the scenario to be: {', '.join(speed.scenario.missing)}"
    if any(start.peak_rss_mib is None for start in starts):
        yield "this system does not tell the peak memory of a process, so peak_rss was not measured"
    if starts and not has_bytecode():
        yield "modules have no compiled bytecode (PYTHONDONTWRITEBYTECODE?), so cold_start includes compiling them"
    if bundle.manifest.complexity is None or bundle.manifest.complexity.gflops is None:
        yield "the bundle does not state all of parameters and GFLOPs, so they were left out"
