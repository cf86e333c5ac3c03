"""What the accuracy of a run is held against: a report of `evaluate`, or what the bundle's reference says."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgewright.pipeline.per_image import load_per_image
from edgewright.pipeline.report.schema import Measurement, Report, load_report
from edgewright.pipeline.statistics import PairedSamples, paired_bootstrap
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import DataError
from edgewright.runtime.spec import PostprocessSpec

# What decides which results there are; the engine and its precision are what a release changes.
_SETTINGS = (*PostprocessSpec.model_fields, "tiles", "tiles.overlap", "tiles.whole", "proposals", "proposals.count")
# Nothing else of the postprocessing changes a class map.
_OF_CLASS_MAPS = tuple(name for name in _SETTINGS if name not in PostprocessSpec.model_fields or name == "refine")
_RESAMPLES = 200
_NORMAL_95 = 1.959964


@dataclass(frozen=True)
class Expected:
    """A value that is expected, and how uncertain it is itself, and by how much too high for its few pictures; 0 where nothing says
    that."""

    value: float
    standard_error: float
    bias: float = 0.0


@dataclass(frozen=True)
class Baseline:
    """Expected values by name; `origin` says whose they are, `notes` what a reader has to know of them."""

    origin: str
    expected: Mapping[str, Expected]
    notes: tuple[str, ...] = ()


def read_baseline(path: Path | str, bundle: Bundle, settings: Mapping[str, Any], names: Collection[str]) -> Baseline:
    """The baseline in a report of `evaluate`, for a run with these `settings` that measures `names`.

    DataError that names the field when task or settings differ, or when the report has none of the names.
    """
    report = load_report(path)
    problem = incomparable(report, bundle, settings, names)
    if problem:
        raise DataError(f"{path}: {problem}")
    per_image = None if report.per_image is None else load_per_image(path, report.per_image)
    known: dict[str, Expected] = {}
    if per_image is not None:
        scores = per_image.scores(names)
        samples = paired_bootstrap(scores, _Nothing(scores.names, scores.images), resamples=_RESAMPLES)
        known = {name: _bootstrapped(samples, name) for name in samples.names}
    return baseline_of(report, bundle, settings, names, origin=str(path), known=known)


def baseline_of(
    report: Report,
    bundle: Bundle,
    settings: Mapping[str, Any],
    names: Collection[str],
    *,
    origin: str,
    known: Mapping[str, Expected] = {},
) -> Baseline:
    """The expected values of a report that can be compared; those that are `known` come from beside it."""
    measured = [found for name in names if (found := report.measurement(name)) is not None]
    expected = {m.name: replace(known.get(m.name) or _expected(m), value=m.value) for m in measured}
    return Baseline(origin, expected, tuple(_notes(report, bundle, settings, expected)))


def incomparable(report: Report, bundle: Bundle, settings: Mapping[str, Any], names: Collection[str]) -> str:
    """Why the report says nothing about what a run measures, empty when it does."""
    if report.bundle.task != bundle.spec.task:
        return f"bundle.task is {report.bundle.task} in the baseline and {bundle.spec.task} in the run; give the report of such a network"
    theirs = report.settings.get("evaluate")
    if theirs is None or all(report.measurement(name) is None for name in names):
        return f"the baseline has none of {', '.join(names)}; give a report of `edgewright evaluate`"
    compared = _OF_CLASS_MAPS if bundle.spec.task == "semantic" else _SETTINGS
    differing = [key for key in compared if theirs.get(key) != settings.get(key)]
    if differing:
        return _different_settings(differing, theirs, settings)
    return ""


def _different_settings(differing: list[str], theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    key = differing[0]
    others = f" (different too: {', '.join(differing[1:])})" if len(differing) > 1 else ""
    ours_is, theirs_is = ours.get(key), theirs.get(key)
    advice = {
        "conf_threshold": f"evaluate with --conf {ours_is}, or run with --conf {theirs_is}",
        "iou_threshold": f"evaluate with --iou {ours_is}, or run with --iou {theirs_is}",
        "max_detections": f"evaluate with --max-det {ours_is}",
    }.get(key, "measure both alike")
    return (
        f"{key} was {theirs_is} for the baseline and is {ours_is} in this run, which moves the metric by itself{others}; "
        f"{advice}"
    )


def _bootstrapped(samples: PairedSamples, name: str) -> Expected:
    k = samples.names.index(name)
    value, resampled = float(samples.measured[k]), samples.resampled[:, k]
    if not np.isfinite(resampled).any():
        return Expected(value, math.inf)
    return Expected(value, float(np.nanstd(resampled)), float(np.nanmean(resampled)) - value)


def _expected(measured: Measurement) -> Expected:
    """From an interval as a run makes it, whose middle is the value without its bias."""
    if measured.interval is None:
        return Expected(measured.value, 0.0)
    low, high = measured.interval
    # One that was cut off at 0 or 1 has another middle.
    bias = measured.value - (low + high) / 2 if 0 < low and high < 1 else 0.0
    return Expected(measured.value, (high - low) / (2 * _NORMAL_95), bias)


def _notes(report: Report, bundle: Bundle, settings: Mapping[str, Any], expected: Mapping[str, Expected]) -> Any:
    if report.bundle.name != bundle.spec.name:
        yield f"the baseline is that of {report.bundle.name}, the run is of {bundle.spec.name}"
    theirs = report.settings.get("evaluate", {})
    for key in ("backend", "executed_precision"):
        if theirs.get(key) != settings.get(key):
            yield f"{key} was {theirs.get(key)} for the baseline and is {settings.get(key)} in this run"
    if not any(one.standard_error for one in expected.values()):
        yield "the baseline does not say how uncertain it is, so it is taken for exact"


class _Nothing:
    """Zeros, to be subtracted from what is resampled alone."""

    def __init__(self, names: tuple[str, ...], images: int) -> None:
        self.names, self.images = names, images

    def values(self, weights: Any) -> Any:
        return np.zeros(len(self.names))

    def support(self) -> Any:
        return np.full(len(self.names), self.images)


def finite_or_none(value: float) -> float | None:
    """The number for JSON, which has no NaN."""
    return value if math.isfinite(value) else None
