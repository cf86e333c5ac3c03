"""What is watched in a run: decided once, from the bundle, the source and what the user asks for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgewright.pipeline.live.accuracy import Accuracy, Limits
from edgewright.pipeline.live.baseline import Baseline, baseline_of, incomparable, read_baseline
from edgewright.pipeline.live.drift import Drift
from edgewright.pipeline.live.labelled import LabelledSource
from edgewright.pipeline.live.reference import Reference
from edgewright.pipeline.live.scoring import Scorer, scorer_for
from edgewright.pipeline.live.several_watches import SeveralWatches
from edgewright.pipeline.live.source_watch import SHARE, SourceWatch
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
    was not asked for and cannot be had is noted. Of several sources each with labels is watched by itself, and none for drift:
    the bundle's reference is of one camera.
    """
    # Where a step wants less sure objects, the network gives them, and the run takes them out again.
    least = predictor.postprocess.conf_threshold if conf_threshold is None else conf_threshold
    opening = _Opening(bundle, predictor, options, {**predictor.settings, "conf_threshold": least})
    if not isinstance(source, SeveralSources):
        return opening.watch(source, stored_reference(bundle))
    if len(source.parts) == 1:
        return opening.watch(source.parts[0].source, stored_reference(bundle))
    return opening.watches({part.name: part.source for part in source.parts})


@dataclass(frozen=True)
class _Opening:
    """What all sources of a run have in common; `settings` are those that results depend on."""

    bundle: Bundle
    predictor: Predictor
    options: WatchOptions
    settings: Mapping[str, Any]

    def watch(self, source: Source, reference: Reference | None) -> SourceWatch:
        if source.labels is None and self.options.baseline is not None:
            raise UsageError(
                f"{source.name} has no labels, so nothing can be compared with --baseline; give data:DATA as the source, or "
                "leave it out"
            )
        notes: list[str] = []
        accuracy = self._accuracy(source, notes)
        window, labels = self.options.window, self.bundle.spec.labels
        drift = None if reference is None else Drift(reference, labels, settings=self.settings, window=window)
        if self.options.fail_on_regression and drift is None and (accuracy is None or accuracy.baseline is None):
            raise UsageError(
                "--fail-on-regression has nothing to compare with: the bundle holds no reference and there is no --baseline with "
                "a labelled source; make a reference with `edgewright reference`, or give a baseline"
            )
        return SourceWatch(accuracy, drift, notes=tuple(notes))

    def watches(self, sources: Mapping[str, Source]) -> SeveralWatches:
        labelled = {name: source for name, source in sources.items() if source.labels is not None}
        notes: dict[str, list[str]] = {name: [] for name in labelled}
        scored = {name: self._accuracy(source, notes[name]) for name, source in labelled.items()}
        if not any(accuracy is not None and accuracy.baseline is not None for accuracy in scored.values()):
            self._refuse_comparison(sources)
        share = SHARE / max(1, len(labelled))
        watches = {
            name: SourceWatch(accuracy, None, notes=tuple(notes[name]), name=name, share=share)
            for name, accuracy in scored.items()
        }
        return SeveralWatches(watches, notes=tuple(self._not_watched(sources)))

    def _refuse_comparison(self, sources: Mapping[str, Source]) -> None:
        """UsageError where the user asked for what none of the sources can give."""
        options = self.options
        for option, asked in (
            ("--baseline", options.baseline is not None),
            ("--fail-on-regression", options.fail_on_regression),
        ):
            if asked:
                raise UsageError(
                    f"{option}: none of {len(sources)} sources ({', '.join(sources)}) has labels and a baseline to compare with, "
                    f"and drift is watched on one source alone; start a run for each source, or leave {option} out"
                )

    def _not_watched(self, sources: Mapping[str, Source]) -> Iterator[str]:
        if stored_reference(self.bundle) is not None:
            yield "drift: the bundle's reference is that of one camera, and this run has several sources"
        unlabelled = [name for name, source in sources.items() if source.labels is None]
        if 0 < len(unlabelled) < len(sources):
            yield f"accuracy: {', '.join(unlabelled)} without labels"

    def _accuracy(self, source: Source, notes: list[str]) -> Accuracy | None:
        """None where there are no labels, or, which is noted, where those of a film do not fit."""
        if source.labels is None:
            return None
        try:
            most = self.predictor.postprocess.max_detections
            scorer = scorer_for(self.bundle.spec, source, max_detections=most)
        except (DataError, UsageError) as err:
            # A film is mostly run for its pictures, whatever its labels.
            if isinstance(source, LabelledSource) or self.options.baseline is not None:
                raise
            notes.append(f"accuracy: {err}")
            return None
        baseline = self._baseline(scorer, notes)
        return Accuracy(scorer, window=self.options.window, baseline=baseline, limits=Limits(self.options.margin))

    def _baseline(self, scorer: Scorer, notes: list[str]) -> Baseline | None:
        bundle, settings = self.bundle, self.settings
        if self.options.baseline is not None:
            return read_baseline(self.options.baseline, bundle, settings, scorer.compared)
        report = stored_report(bundle)
        if report is None:
            return None
        problem = incomparable(report, bundle, settings, scorer.compared)
        if problem:
            notes.append(f"baseline of the bundle: {problem}")
            return None
        return baseline_of(report, bundle, settings, scorer.compared, origin="the bundle's reference")
