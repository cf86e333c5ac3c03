"""How a candidate differs from its baseline, with intervals where both know every image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgewright.pipeline.console import progress
from edgewright.pipeline.report import plots
from edgewright.pipeline.report.figures import Plot, drawn
from edgewright.pipeline.report.numbers import shown, signed
from edgewright.pipeline.report.subjects import Subject
from edgewright.pipeline.statistics import paired_bootstrap, too_few

_CLASS_PREFIXES = ("AP/", "IoU/", "PQ/")
_RESAMPLES = 1000


@dataclass(frozen=True)
class Delta:
    """Candidate minus baseline of a metric, in words too; `interval` is empty where no images can be resampled."""

    metric: str
    candidate: str
    baseline: str
    change: str
    interval: str
    worse: bool


def deltas_of(candidate: Subject, baseline: Subject) -> tuple[list[Delta], Plot | None, str]:
    """The metrics that both have, the classes as a figure, and how the intervals came about."""
    measured = {m.name: m for report in candidate.reports for m in report.measurements}
    names = [name for name in measured if baseline.value(name) is not None]
    intervals, note = _intervals(candidate, baseline, [n for n in names if measured[n].unit == "fraction"])
    deltas, classes = [], []
    for name in names:
        ours, theirs, kind = candidate.value(name), baseline.value(name), measured[name]
        if ours is None or theirs is None:
            continue
        interval = intervals.get(name)
        if name.startswith(_CLASS_PREFIXES):
            classes.append((name.partition("/")[2], ours - theirs, interval))
        deltas.append(
            Delta(
                metric=name,
                candidate=shown(ours, kind.unit, apart_from=theirs),
                baseline=shown(theirs, kind.unit, apart_from=ours),
                change=signed(ours - theirs, kind.unit),
                interval=" to ".join(signed(bound, kind.unit) for bound in interval) if interval else "",
                worse=(ours < theirs) if kind.higher_is_better else (ours > theirs),
            )
        )
    plot = drawn(plots.class_deltas, candidate.label, classes, "class-deltas") if classes else None
    return deltas, plot, note


def _intervals(
    candidate: Subject, baseline: Subject, names: Sequence[str]
) -> tuple[Mapping[str, tuple[float, float]], str]:
    """Of each difference for itself: a figure shows them, the gate judges them together."""
    ours, theirs = candidate.per_image, baseline.per_image
    if ours is None or theirs is None or not ours.same_images(theirs):
        return {}, "Without the results of the same images on both sides there are no intervals."
    samples = paired_bootstrap(
        ours.scores(names),
        theirs.scores(names),
        resamples=_RESAMPLES,
        sampled=ours.sampled,
        track=lambda numbers: progress(numbers, total=_RESAMPLES, description="resample"),
    )
    found = {name: samples.difference(name, 0.95).interval for name in samples.names if not too_few(samples, name)}
    finite = {name: interval for name, interval in found.items() if np.isfinite(interval).all()}
    return (
        finite,
        f"Intervals of 95 % for each difference alone, from {_RESAMPLES} resamples of {samples.images} {samples.sampled}.",
    )
