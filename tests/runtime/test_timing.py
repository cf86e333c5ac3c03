"""Histograms of stage durations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.runtime.timing import STAGES, Laps, StageSummary, Timings, table

DURATIONS_S = st.lists(st.floats(min_value=1e-6, max_value=300), min_size=1, max_size=200)


def timings_of(stage: str, seconds: list[float]) -> Timings:
    timings = Timings()
    for value in seconds:
        timings.record(stage, value)
    return timings


@given(DURATIONS_S)
def test_percentiles_agree_with_numpy_to_a_microsecond_or_a_thousandth(seconds: list[float]) -> None:
    summary = timings_of("infer", seconds).summary("infer")
    for percent, got in ((50, summary.p50_ms), (95, summary.p95_ms), (99, summary.p99_ms)):
        # Definitions differ in what they take between two neighbours, not in the neighbours.
        low_ms, high_ms = (np.percentile(seconds, percent, method=how) * 1000 for how in ("lower", "higher"))
        assert low_ms * 0.999 - 1e-3 <= got <= high_ms * 1.001 + 1e-3


@given(DURATIONS_S)
def test_mean_maximum_and_count_are_those_of_the_values(seconds: list[float]) -> None:
    summary = timings_of("infer", seconds).summary("infer")
    assert summary.count == len(seconds)
    assert summary.mean_ms == pytest.approx(np.mean(seconds) * 1000, rel=1e-6, abs=1e-3)
    assert summary.max_ms == pytest.approx(max(seconds) * 1000, rel=1e-3, abs=1e-3)


@given(DURATIONS_S, DURATIONS_S)
def test_merging_counts_everything_once(first: list[float], second: list[float]) -> None:
    merged = timings_of("infer", first)
    merged.merge(timings_of("infer", second))
    assert merged.summary("infer") == timings_of("infer", first + second).summary("infer")


def test_merging_brings_stages_that_only_the_other_has() -> None:
    merged = timings_of("infer", [0.001])
    merged.merge(timings_of("draw", [0.002]))
    assert merged.stages() == ("infer", "draw")


def test_durations_out_of_range_are_counted_at_the_ends_of_the_range() -> None:
    summary = timings_of("infer", [-1.0, 0.0, 1e9]).summary("infer")
    assert summary.count == 3
    assert summary.p50_ms == 0.0
    assert summary.max_ms == pytest.approx(600_000, rel=1e-3)


def test_stages_come_in_the_order_of_the_loop_and_unknown_ones_last() -> None:
    timings = Timings()
    timings.record_all({"upload": 0.1, "sink": 0.1, "capture": 0.1, "infer": 0.1})
    assert timings.stages() == ("capture", "infer", "sink", "upload")
    assert tuple(timings.summaries()) == timings.stages()
    assert STAGES.index("capture") < STAGES.index("infer") < STAGES.index("sink")


def test_laps_share_out_all_the_time_that_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 10.5, 10.75, 12.75])
    monkeypatch.setattr("edgewright.runtime.timing.time.perf_counter", lambda: next(clock))
    laps = Laps()
    for stage in ("capture", "infer", "capture"):
        laps.mark(stage)
    assert laps.seconds == {"capture": 2.5, "infer": 0.25}


def test_a_stage_gives_all_its_time_to_its_parts() -> None:
    laps = Laps()
    laps.seconds = {"prepare": 1.0, "infer": 5.0}
    laps.split("infer", None)
    assert laps.seconds == {"prepare": 1.0, "infer": 5.0}
    laps.split("infer", {"encode": 3.0, "decode": 1.5})
    assert laps.seconds == {"prepare": 1.0, "encode": 3.0, "decode": 2.0}


def test_the_table_aligns_its_columns() -> None:
    summary = StageSummary(count=1234, mean_ms=1.5, p50_ms=1.25, p95_ms=2.0, p99_ms=123.456, max_ms=200.0)
    lines = table({"infer": summary, "end_to_end": summary}).splitlines()
    assert lines[0].split() == ["stage", *["p50", "ms", "p95", "ms", "p99", "ms", "mean", "ms", "max", "ms", "count"]]
    assert lines[1].split() == ["infer", "1.25", "2.00", "123.46", "1.50", "200.00", "1234"]
    assert len({len(line) for line in lines}) == 1
