"""How long the stages of one frame take, frame after frame in one thread."""

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import NamedTuple

import numpy as np

from edgewright.pipeline.report.schema import Measurement
from edgewright.runtime.predictor import Predictor
from edgewright.runtime.results import Image

# Hears the name of a phase and how much of it is done, from 0 to 1; called between runs, never during one.
Tell = Callable[[str, float], None]

# Warm-up ends when the medians of two windows in a row differ by no more than this share. It is wider than the jitter of
# a desktop and narrower than what caches, lazy allocation and clocks that are still rising cost.
_WINDOW_RUNS = 10
_STABLE_WITHIN = 0.03
_MOST_WARMUP_RUNS = 200
_TELL_EVERY_S = 0.5


class Run(NamedTuple):
    """The durations of the stages of one frame, or of one batch, in nanoseconds, None where there is no such stage.

    Networks that need no regions do not `propose`; those that take prompts `encode` and `decode` where others `infer`.
    """

    prepare: int = 0
    infer: int | None = None
    finish: int = 0
    propose: int | None = None
    encode: int | None = None
    decode: int | None = None

    @property
    def total(self) -> int:
        return sum(duration for duration in self if duration is not None)


@dataclass(frozen=True)
class WarmUp:
    """How many runs warmed up, and whether the time of a run had come to rest; None when it was not watched."""

    runs: int
    stable: bool | None


def time_frame(predictor: Predictor, image: Image) -> Run:
    """The stages of one frame, timed without a gap between them."""
    clock = time.perf_counter_ns
    start = clock()
    regions = predictor.propose(image, ())
    proposed = clock() if regions is not None else start
    feeds, placement = predictor.prepare(image, regions)
    prepared = clock()
    outputs = predictor.infer(feeds)
    inferred = clock()
    predictor.finish(outputs, placement)
    finished = clock()
    proposal = None if regions is None else proposed - start
    run = Run(prepared - proposed, inferred - prepared, finished - inferred, proposal)
    # The few microseconds between encoding and decoding count as decoding.
    encode_s = (getattr(predictor, "infer_parts", None) or {}).get("encode")
    if encode_s is None:
        return run
    encode = round(encode_s * 1e9)
    return run._replace(infer=None, encode=encode, decode=inferred - prepared - encode)


def timed_run(predictor: Predictor, images: Iterable[Image]) -> Callable[[], Run]:
    """What runs the next of the images, or as many as go through the engine at once, in turn."""
    pictures = cycle(images)
    if predictor.batch == 1:
        return lambda: time_frame(predictor, next(pictures))
    return lambda: _time_batch(predictor, list(islice(pictures, predictor.batch)))


def _time_batch(predictor: Predictor, images: Sequence[Image]) -> Run:
    clock = time.perf_counter_ns
    start = clock()
    feeds, placements = predictor.prepare_several(images)
    prepared = clock()
    outputs = predictor.infer(feeds)
    inferred = clock()
    predictor.finish_several(outputs, placements)
    return Run(prepared - start, inferred - prepared, clock() - inferred)


def warm_up(predictor: Predictor, images: Iterable[Image], runs: int | None, *, most_s: float, tell: Tell) -> WarmUp:
    """Exactly `runs` runs; None: until the time of a run is stable, for 200 runs or `most_s` seconds at most."""
    run = timed_run(predictor, images)
    if runs is not None:
        for done in range(runs):
            run()
            tell("warm-up", (done + 1) / runs)
        return WarmUp(runs, None)
    totals: list[int] = []
    started_s = time.monotonic()
    while not is_stable(totals):
        if totals and (len(totals) >= _MOST_WARMUP_RUNS or time.monotonic() - started_s >= most_s):
            return WarmUp(len(totals), stable=False)
        totals.append(run().total)
        tell("warm-up", 0.0)
    return WarmUp(len(totals), stable=True)


def is_stable(totals_ns: list[int]) -> bool:
    """Whether the last two windows of runs took the same time, by their medians."""
    if len(totals_ns) < 2 * _WINDOW_RUNS:
        return False
    before = statistics.median(totals_ns[-2 * _WINDOW_RUNS : -_WINDOW_RUNS])
    return abs(statistics.median(totals_ns[-_WINDOW_RUNS:]) - before) <= _STABLE_WITHIN * before


def measure_runs(
    predictor: Predictor, images: Iterable[Image], *, seconds: float, iterations: int, tell: Tell
) -> list[Run]:
    """At least `iterations` runs and at least `seconds` of them, over the images in turn."""
    runs: list[Run] = []
    started_s = told_s = time.monotonic()
    run = timed_run(predictor, images)
    while True:
        runs.append(run())
        now_s = time.monotonic()
        done = min(len(runs) / iterations, (now_s - started_s) / seconds if seconds else 1.0)
        if done >= 1:
            return runs
        if now_s - told_s >= _TELL_EVERY_S:
            tell("measuring", done)
            told_s = now_s


def latency_measurements(runs: list[Run], batch: int = 1) -> list[Measurement]:
    """p50, p95, p99 and mean of every stage and of them together in milliseconds, and the throughput in images.

    The runs are of `batch` images each; of several the mean time of an image is told as well.
    """
    stages = [
        stage
        for stage in ("propose", "prepare", "infer", "encode", "decode", "finish")
        if getattr(runs[0], stage) is not None
    ]
    columns = {stage: np.array([getattr(run, stage) for run in runs]) / 1e6 for stage in stages}
    columns["end_to_end"] = np.array([run.total for run in runs]) / 1e6
    numbers = [
        Measurement(name=f"latency.{stage}.{name}", value=value, unit="ms", higher_is_better=False)
        for stage, values in columns.items()
        for name, value in (
            *((f"p{q}", float(np.percentile(values, q))) for q in (50, 95, 99)),
            ("mean", float(values.mean())),
        )
    ]
    image_ms = float(columns["end_to_end"].mean()) / batch
    if batch > 1:
        numbers.append(Measurement(name="image", value=image_ms, unit="ms", higher_is_better=False))
    throughput = 1000 / image_ms
    return [*numbers, Measurement(name="throughput", value=throughput, unit="1/s", higher_is_better=True)]
