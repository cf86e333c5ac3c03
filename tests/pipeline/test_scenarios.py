"""The scenarios of MLPerf Inference, on a predictor whose time is known."""

import time
from typing import Any, cast

import pytest
from tests.pipeline.test_benchmark import StubPredictor
from tests.tiny import blob_image

from edgewright.pipeline.report.schema import BundleIdentity, DataIdentity, Measurement, Report
from edgewright.pipeline.scenarios import SCENARIOS, ScenarioRun, relative_accuracy, run_scenario
from edgewright.runtime.errors import DataError
from edgewright.runtime.predictor import Predictor


class Timed(StubPredictor):
    """A predictor that takes 2 ms, usable in `with`."""

    def __init__(self) -> None:
        super().__init__(seconds=0.002)
        self.inferences = 0

    def infer(self, feeds: Any) -> Any:
        self.inferences += 1
        return super().infer(feeds)

    def __enter__(self) -> "Timed":
        return self

    def __exit__(self, *_: Any) -> None:
        return None


def played(name: Any, *, threads: int = 2, seconds: float = 0.1) -> tuple[ScenarioRun, list[Timed]]:
    opened: list[Timed] = []

    def open_predictor(threads: int | None) -> Predictor:
        opened.append(Timed())
        return cast("Predictor", opened[-1])

    run = run_scenario(
        name, open_predictor, [blob_image()], threads=threads, seconds=seconds, tell=lambda phase, done: None
    )
    return run, opened


def test_the_definitions_are_those_of_the_rules() -> None:
    # MLPerf Inference rules, table of scenarios: samples per query, tail latency; mlperf.conf: min_query_count.
    facts = {
        name: (s.samples_per_query, s.percentile, s.least_queries, s.least_seconds) for name, s in SCENARIOS.items()
    }
    assert facts == {
        "single_stream": (1, 90, 1024, 600),
        "multi_stream": (8, 99, 662, 600),
        "offline": (24_576, None, 1, 600),
        # Not one of theirs.
        "engine": (1, 50, 1, 0),
    }


def test_a_single_stream_is_the_90th_percentile_of_single_images() -> None:
    run, opened = played("single_stream")
    assert (run.measurement.name, run.measurement.unit, run.measurement.higher_is_better) == (
        "single_stream.p90",
        "ms",
        False,
    )
    assert run.samples == run.queries == len(opened[0].images)
    assert run.measurement.value >= 2


def test_a_query_of_a_multi_stream_is_eight_images() -> None:
    run, opened = played("multi_stream")
    assert run.measurement.name == "multi_stream.p99"
    assert run.samples == 8 * run.queries == len(opened[0].images)
    assert run.measurement.value >= 8 * 2


def test_offline_every_core_has_a_predictor_of_its_own() -> None:
    run, opened = played("offline", threads=3)
    assert (run.measurement.name, run.measurement.unit, run.measurement.higher_is_better) == (
        "offline.throughput", "1/s", True,
    )  # fmt: skip
    assert len(opened) == 3
    assert run.samples == sum(len(stub.images) for stub in opened) - 5  # a pilot of five finds how many to send
    assert run.measurement.value == pytest.approx(run.samples / run.seconds)


def test_the_engine_is_timed_alone_on_tensors_that_are_prepared_once() -> None:
    run, opened = played("engine")
    assert (run.measurement.name, run.measurement.unit) == ("engine.p50", "ms")
    assert len(opened[0].images) == 1
    assert opened[0].inferences > run.queries > 1
    assert run.measurement.value >= 2
    assert run.missing == ()


def test_a_short_run_says_what_it_lacks() -> None:
    run, _ = played("single_stream", seconds=0)
    assert run.missing[0] == "1 of 1,024 queries"
    assert run.missing[1].endswith("of 600 seconds")
    offline, _ = played("offline", seconds=0.01)
    assert any("of 24,576 samples" in part for part in offline.missing)


def test_a_run_ends_when_its_time_is_up() -> None:
    started = time.monotonic()
    run, _ = played("single_stream", seconds=0.05)
    assert time.monotonic() - started >= 0.05
    assert run.queries > 1


def evaluated(value: float, *, metric: str = "AP", digest: str = "d") -> Report:
    return Report(
        bundle=BundleIdentity(name="nano", digest="a" * 64, task="detect", precision="int8"),
        data=DataIdentity(uri="coco:val:val.json", digest=digest * 64, images=80),
        settings={},
        measurements=(Measurement(name=metric, value=value, unit="fraction", higher_is_better=True),),
        created="2026-01-01T00:00:00+00:00",
    )


def test_accuracy_is_stated_in_percent_of_the_reference() -> None:
    # MLPerf Inference rules: 99 % of FP32 (0.20 mAP) is what SSD-ResNet34 has to reach.
    found = relative_accuracy(evaluated(0.198), evaluated(0.20))
    assert found.value == pytest.approx(99)
    assert (found.unit, found.higher_is_better) == ("%", True)


def test_accuracies_of_other_data_or_metrics_are_refused() -> None:
    with pytest.raises(DataError, match=r"data\.digest is dddddddddddd in one report and eeeeeeeeeeee"):
        relative_accuracy(evaluated(0.2), evaluated(0.2, digest="e"))
    with pytest.raises(DataError, match="none of mask-AP, AP, PQ, mIoU"):
        relative_accuracy(evaluated(0.2), evaluated(0.2, metric="mIoU"))
