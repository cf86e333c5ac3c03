"""How long each stage of a loop takes, kept in histograms of constant size however long it runs."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hdrh.histogram import HdrHistogram

# What a frame passes through. Where stages overlap, it waits before some of them: `frame_wait` until somebody takes it,
# `engine_wait` until its inference begins, `output_wait` until its outputs are looked at. `track` and `blur` are steps of a
# run, see `runtime.steps`. `end_to_end` is all of these together; `age` is how old the frame was, since its capture, when it
# reached the sinks.
WAITS = ("frame_wait", "engine_wait", "output_wait")
STAGES = (
    "capture", "frame_wait", "propose", "prepare", "engine_wait", "infer", "encode", "decode", "output_wait", "finish",
    "track", "blur", "watch", "draw", "sink", "end_to_end", "age",
)  # fmt: skip

# 1 us to 10 minutes, with values kept to 3 digits: exact below 2 ms, within 0.1% above.
_HIGHEST_US = 600_000_000
_DIGITS = 3


@dataclass(frozen=True)
class StageSummary:
    """The distribution of one stage's durations, in milliseconds."""

    count: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


class Laps:
    """A stopwatch: `mark` gives a stage the time since the last mark."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def copy(self) -> "Laps":
        """A stopwatch that goes on by itself from here: frames of a batch part when they come out of the network."""
        other = Laps()
        other.seconds, other._last = dict(self.seconds), self._last
        return other

    def mark(self, stage: str) -> None:
        """Count the time since the last mark, or since the start, for `stage`."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now

    def split(self, stage: str, parts: Mapping[str, float] | None) -> None:
        """Count `parts` instead of the stage that they make up, where there are any; the last one takes what is left."""
        if parts:
            left = self.seconds.pop(stage) - sum(parts.values())
            self.seconds |= parts
            self.seconds[list(parts)[-1]] += left

    def carve(self, stage: str, parts: Mapping[str, float]) -> None:
        """Count `parts`, which happened within the time that was counted for `stage`, apart from it."""
        self.seconds[stage] = max(0.0, self.seconds[stage] - sum(parts.values()))
        for part, seconds in parts.items():
            self.seconds[part] = self.seconds.get(part, 0.0) + seconds


class Timings:
    """Durations by stage. A stage may be recorded by one thread at a time; give each thread its own and merge them."""

    def __init__(self) -> None:
        self._histograms: dict[str, HdrHistogram] = {}
        # The library finds a mean by walking through all its buckets in Python: 70 ms a stage.
        self._sums_us: dict[str, int] = {}

    def record(self, stage: str, seconds: float) -> None:
        """Count one duration, rounded to microseconds; what is longer than 10 minutes counts as 10 minutes."""
        histogram = self._histograms.get(stage)
        if histogram is None:
            histogram = self._histograms[stage] = _new_histogram()
            self._sums_us[stage] = 0
        # The library drops what is out of range without a word.
        microseconds = min(max(round(seconds * 1e6), 0), _HIGHEST_US)
        histogram.record_value(microseconds)
        self._sums_us[stage] += microseconds

    def record_all(self, seconds_by_stage: Mapping[str, float]) -> None:
        """Count one duration of each stage given."""
        for stage, seconds in seconds_by_stage.items():
            self.record(stage, seconds)

    def merge(self, other: "Timings") -> None:
        """Add everything that `other` has counted."""
        for stage, histogram in other._histograms.items():
            self._histograms.setdefault(stage, _new_histogram()).add(histogram)
            self._sums_us[stage] = self._sums_us.get(stage, 0) + other._sums_us[stage]

    def stages(self) -> tuple[str, ...]:
        """The stages recorded so far: the known ones in the order of STAGES, then the others in order of appearance."""
        known = tuple(stage for stage in STAGES if stage in self._histograms)
        return known + tuple(stage for stage in self._histograms if stage not in STAGES)

    def summary(self, stage: str) -> StageSummary:
        """The distribution of `stage`; KeyError when nothing was recorded for it."""
        histogram = self._histograms[stage]
        count = histogram.get_total_count()
        values_us = histogram.get_percentile_to_value_dict([50.0, 95.0, 99.0])
        return StageSummary(
            count=count,
            mean_ms=self._sums_us[stage] / count / 1000,
            p50_ms=values_us[50.0] / 1000,
            p95_ms=values_us[95.0] / 1000,
            p99_ms=values_us[99.0] / 1000,
            max_ms=histogram.get_max_value() / 1000,
        )

    def summaries(self) -> dict[str, StageSummary]:
        """The distribution of every recorded stage, in the order of `stages`."""
        return {stage: self.summary(stage) for stage in self.stages()}


def table(summaries: Mapping[str, StageSummary]) -> str:
    """The summaries as a plain text table in milliseconds, one line a stage."""
    header = ("stage", "p50 ms", "p95 ms", "p99 ms", "mean ms", "max ms", "count")
    rows = [(stage, *_cells(summary)) for stage, summary in summaries.items()]
    return "\n".join(aligned([header, *rows]))


def _cells(summary: StageSummary) -> tuple[str, ...]:
    milliseconds = (summary.p50_ms, summary.p95_ms, summary.p99_ms, summary.mean_ms, summary.max_ms)
    return (*(f"{value:.2f}" for value in milliseconds), str(summary.count))


def aligned(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Rows of cells as lines of a plain text table, the first column to the left."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    padded = [[cell.rjust(max(map(len, column))) for cell in column] for column in columns[1:]]
    first = [cell.ljust(max(map(len, columns[0]))) for cell in columns[0]]
    return ["  ".join(line) for line in zip(first, *padded, strict=True)]


def _new_histogram() -> HdrHistogram:
    return HdrHistogram(1, _HIGHEST_US, _DIGITS)
