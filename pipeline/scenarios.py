"""The scenarios of MLPerf Inference, measured on one machine without its load generator, and the engine alone.

Definitions: MLPerf Inference rules, section "Scenarios" (github.com/mlcommons/inference_policies), and the least numbers of
queries of its load generator (mlcommons/inference, mlperf.conf). What is measured here is no MLPerf result: that name is for
runs of the load generator that were submitted and reviewed.

The scenario `engine` is none of theirs: inference after inference on the same tensors, as OpenVINO's benchmark_app and
TensorRT's trtexec measure. Within a run, pre-processing and decoding take the caches between two inferences, so that the stage
`infer` of a small network is longer.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Literal

import numpy as np

from edgewright.pipeline.latency import Tell, time_frame
from edgewright.pipeline.report.schema import Measurement, Report
from edgewright.runtime.cpu import usable_cores
from edgewright.runtime.errors import DataError
from edgewright.runtime.predictor import Predictor
from edgewright.runtime.results import Image

Name = Literal["single_stream", "multi_stream", "offline", "engine"]
Open = Callable[[int | None], Predictor]

# The number that stands for a network's accuracy, by what its reports hold: the first that there is.
_MAIN_METRICS = ("mask-AP", "AP", "PQ", "mIoU")
_WARMUP = 10
# Drawing a bar between two inferences would take the caches.
_TELL_EVERY_S = 0.5


@dataclass(frozen=True)
class Scenario:
    """A query is `samples_per_query` images; what counts is a percentile of its latency, None for samples per second.

    A run is complete with `least_queries` (offline: `least_samples` in its one query) and `least_seconds`.
    """

    samples_per_query: int
    percentile: int | None
    least_queries: int
    least_seconds: int = 600


SCENARIOS: Mapping[Name, Scenario] = {
    "single_stream": Scenario(samples_per_query=1, percentile=90, least_queries=1024),
    "multi_stream": Scenario(samples_per_query=8, percentile=99, least_queries=662),
    # One query with all samples; at least 24,576 of them.
    "offline": Scenario(samples_per_query=24_576, percentile=None, least_queries=1),
    "engine": Scenario(samples_per_query=1, percentile=50, least_queries=1, least_seconds=0),
}


@dataclass(frozen=True)
class ScenarioRun:
    """What was measured, how much was run for it, and what a complete run would have had more."""

    measurement: Measurement
    queries: int
    samples: int
    seconds: float
    missing: tuple[str, ...]


def run_scenario(
    name: Name, open_predictor: Open, images: Sequence[Image], *, threads: int | None, seconds: float, tell: Tell
) -> ScenarioRun:
    """The scenario `name` for about `seconds`; `open_predictor` gives a predictor that uses so many threads.

    The streams send a query when the one before is done. Offline, every core has a predictor of its own with one thread. The
    engine is called with the tensors of the first image again and again.
    """
    scenario = SCENARIOS[name]
    if scenario.percentile is None:
        return _offline(scenario, open_predictor, images, threads or usable_cores(), seconds, tell)
    with open_predictor(threads) as predictor:
        query = _inference(predictor, images[0]) if name == "engine" else _query(predictor, images, scenario)
        latencies_ms = list(_timed(query, seconds, tell))
    measurement = Measurement(
        name=f"{name}.p{scenario.percentile}",
        value=float(np.percentile(latencies_ms, scenario.percentile)),
        unit="ms",
        higher_is_better=False,
    )
    samples = len(latencies_ms) * scenario.samples_per_query
    return _run(scenario, measurement, len(latencies_ms), samples, sum(latencies_ms) / 1000)


def relative_accuracy(candidate: Report, reference: Report) -> Measurement:
    """The candidate's accuracy in percent of the reference's; DataError when they are of different data or metrics.

    MLPerf wants 99 % (or 99.9 %) of what the network has in fp32.
    """
    if candidate.data is None or reference.data is None or candidate.data.digest != reference.data.digest:
        digests = [report.data.digest[:12] if report.data else "none" for report in (candidate, reference)]
        raise DataError(
            f"accuracies cannot be compared: data.digest is {digests[0]} in one report and {digests[1]} in the other; "
            "evaluate both on the same data"
        )
    for metric in _MAIN_METRICS:
        ours, theirs = candidate.measurement(metric), reference.measurement(metric)
        if ours is not None and theirs is not None and theirs.value > 0:
            value = 100 * ours.value / theirs.value
            return Measurement(name="accuracy_of_reference", value=value, unit="%", higher_is_better=True)
    raise DataError(
        f"accuracies cannot be compared: none of {', '.join(_MAIN_METRICS)} is in both reports; evaluate both anew"
    )


def _query(predictor: Predictor, images: Sequence[Image], scenario: Scenario) -> Callable[[], int]:
    """A query of the scenario, of the next images; gives its latency in nanoseconds."""
    pictures = cycle(images)
    return lambda: sum(time_frame(predictor, image).total for image in islice(pictures, scenario.samples_per_query))


def _inference(predictor: Predictor, image: Image) -> Callable[[], int]:
    """One inference on the tensors of `image`, which are prepared once; gives its time in nanoseconds."""
    feeds, _ = predictor.prepare(image, predictor.propose(image, ()))
    for _ in range(_WARMUP):
        predictor.infer(feeds)

    def infer() -> int:
        start_ns = time.perf_counter_ns()
        predictor.infer(feeds)
        return time.perf_counter_ns() - start_ns

    return infer


def _timed(query: Callable[[], int], seconds: float, tell: Tell) -> Iterator[float]:
    """Latencies in milliseconds of one query after the other, for about `seconds`."""
    started_s = told_s = time.monotonic()
    while True:
        yield query() / 1e6
        now_s = time.monotonic()
        if now_s - started_s >= seconds:
            return
        if now_s - told_s >= _TELL_EVERY_S:
            tell("queries", (now_s - started_s) / seconds)
            told_s = now_s


def _offline(
    scenario: Scenario, open_predictor: Open, images: Sequence[Image], streams: int, seconds: float, tell: Tell
) -> ScenarioRun:
    with ExitStack() as stack:
        predictors = [stack.enter_context(open_predictor(1)) for _ in range(streams)]
        pool = stack.enter_context(ThreadPoolExecutor(streams))
        # As many images as take about `seconds`, and all of them in one query, as the scenario wants.
        pilot_s = statistics.median(time_frame(predictors[0], image).total for image in islice(cycle(images), 5)) / 1e9
        each = max(1, round(seconds / pilot_s))
        tell("offline", 0.0)
        started_s = time.perf_counter()
        for done in [pool.submit(_work, predictor, images, each) for predictor in predictors]:
            done.result()
        elapsed_s = time.perf_counter() - started_s
    samples = each * streams
    measurement = Measurement(name="offline.throughput", value=samples / elapsed_s, unit="1/s", higher_is_better=True)
    return _run(scenario, measurement, 1, samples, elapsed_s)


def _work(predictor: Predictor, images: Sequence[Image], count: int) -> None:
    for image in islice(cycle(images), count):
        time_frame(predictor, image)


def _run(scenario: Scenario, measurement: Measurement, queries: int, samples: int, seconds: float) -> ScenarioRun:
    missing = []
    if queries < scenario.least_queries:
        missing.append(f"{queries} of {scenario.least_queries:,} queries")
    if samples < scenario.samples_per_query:
        missing.append(f"{samples:,} of {scenario.samples_per_query:,} samples")
    if seconds < scenario.least_seconds:
        missing.append(f"{seconds:.3g} of {scenario.least_seconds} seconds")
    return ScenarioRun(measurement, queries, samples, seconds, tuple(missing))
