"""What is watched in a run: decided once, from the bundle, the source and what the user asks for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgewright.pipeline.live.accuracy import Accuracy, Limits
from edgewright.pipeline.live.baseline import Baseline, baseline_of, incomparable, read_baseline
from edgewright.pipeline.live.drift import Drift
from edgewright.pipeline.live.labelled import LabelledSource
from edgewright.pipeline.live.scoring import Scorer, scorer_for
from edgewright.pipeline.live.stored import stored_reference, stored_report
from edgewright.pipeline.live.watch import Watch
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import DataError, UsageError
from edgewright.runtime.predictor import Predictor
from edgewright.runtime.several import SeveralSources
from edgewright.runtime.sources import Source


@dataclass(frozen=True)
class WatchOptions:
    """`window` in frames; `margin` is the drop that may be; `baseline` is a report of `evaluate`, None: the bundle's own."""

    window: int = 500
    margin: float = 0.02
    baseline: str | None = None
    fail_on_regression: bool = False


def open_watch(
    bundle: Bundle,
    source: Source,
    predictor: Predictor,
    options: WatchOptions = WatchOptions(),
    *,
    conf_threshold: float | None = None,
) -> Watch:
    """What watches a run of `bundle` on `source`, whose results have scores from `conf_threshold` on, None: the predictor's.

    UsageError or DataError where what was asked for cannot be had: labels of a data set, or a baseline, that do not fit. What
    was not asked for and cannot be had is noted. One source is watched: of several, what each sees and how well would be mixed up.
    """
    notes: list[str] = []
    if isinstance(source, SeveralSources):
        if len(source.parts) > 1:
            return _not_watched(source, stored_reference(bundle) is not None, options)
        source = source.parts[0].source
    # Where a step wants less sure objects, the network gives them, and the run takes them out again.
    least = predictor.postprocess.conf_threshold if conf_threshold is None else conf_threshold
    settings = {**predictor.settings, "conf_threshold": least}
    scorer = _scorer(bundle, source, predictor, options, notes)
    accuracy = None
    if scorer is not None:
        baseline = _baseline(bundle, settings, scorer, options, notes)
        accuracy = Accuracy(scorer, window=options.window, baseline=baseline, limits=Limits(options.margin))
    reference = stored_reference(bundle)
    drift = (
        None if reference is None else Drift(reference, bundle.spec.labels, settings=settings, window=options.window)
    )
    if options.fail_on_regression and drift is None and (accuracy is None or accuracy.baseline is None):
        raise UsageError(
            "--fail-on-regression has nothing to compare with: the bundle holds no reference and there is no --baseline with "
            "a labelled source; make a reference with `edgewright reference`, or give a baseline"
        )
    return Watch(accuracy, drift, notes=tuple(notes))


def _not_watched(source: SeveralSources, has_reference: bool, options: WatchOptions) -> Watch:
    """UsageError where the user asked for more than a note."""
    reason = f"accuracy and drift are watched on one source, this run has {len(source.parts)} ({source.name})"
    asked = {"--baseline": options.baseline is not None, "--fail-on-regression": options.fail_on_regression}
    for option, is_asked in asked.items():
        if is_asked:
            raise UsageError(f"{option}: {reason}; start a run for each source, or leave {option} out")
    is_labelled = any(part.source.labels is not None for part in source.parts)
    return Watch(None, None, notes=(reason,) if has_reference or is_labelled else ())


def _scorer(
    bundle: Bundle, source: Source, predictor: Predictor, options: WatchOptions, notes: list[str]
) -> Scorer | None:
    if source.labels is None:
        if options.baseline is not None:
            raise UsageError(
                f"{source.name} has no labels, so nothing can be compared with --baseline; give data:DATA as the source, or "
                "leave it out"
            )
        return None
    try:
        return scorer_for(bundle.spec, source, max_detections=predictor.postprocess.max_detections)
    except (DataError, UsageError) as err:
        # A film is mostly run for its pictures, whatever its labels.
        if isinstance(source, LabelledSource) or options.baseline is not None:
            raise
        notes.append(f"accuracy: {err}")
        return None


def _baseline(
    bundle: Bundle, settings: Mapping[str, Any], scorer: Scorer, options: WatchOptions, notes: list[str]
) -> Baseline | None:
    if options.baseline is not None:
        return read_baseline(options.baseline, bundle, settings, scorer.compared)
    report = stored_report(bundle)
    if report is None:
        return None
    problem = incomparable(report, bundle, settings, scorer.compared)
    if problem:
        notes.append(f"baseline of the bundle: {problem}")
        return None
    return baseline_of(report, bundle, settings, scorer.compared, origin="the bundle's reference")
