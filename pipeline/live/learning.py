"""A bundle learns what is normal: it runs on a source while all is well, and keeps what that looks like."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgewright.pipeline.device import describe_device
from edgewright.pipeline.live.accuracy import Accuracy, Estimate
from edgewright.pipeline.live.labelled import LabelledSource
from edgewright.pipeline.live.reference import Reference, learn
from edgewright.pipeline.live.scoring import Scorer, scorer_for
from edgewright.pipeline.live.signals import FrameSignals, signals_of
from edgewright.pipeline.live.stored import ACCURACY, SIGNALS, with_reference
from edgewright.pipeline.report.schema import DataIdentity, Measurement, Report, identity_of, utc_now
from edgewright.runtime.atomic import check_writable_target
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import DataError, EdgeError, UsageError
from edgewright.runtime.loop import RunStatistics, run_loop
from edgewright.runtime.predictor import Predictor
from edgewright.runtime.results import Frame, Result
from edgewright.runtime.sources import Source
from edgewright.runtime.steps import Step


def learn_reference(
    bundle: Bundle,
    source: Source,
    predictor: Predictor,
    output: Path,
    *,
    window: int = 500,
    max_frames: int | None = None,
    replace: bool = False,
    on_frame: Callable[[int], None] = lambda number: None,
) -> Bundle:
    """The bundle in folder `output` that knows what `source` looks like, and where it has labels, how accurate the network is.

    A source without end needs `max_frames`. UsageError or DataError when labels of a data set do not fit, or when the frames are
    too few.
    """
    check_writable_target(output, replace=replace)
    if source.length is None and max_frames is None and source.reopens:
        raise UsageError(f"{source.name} has no end; say how many frames are the reference, as in --max-frames 5000")
    scorer = _scorer(bundle, source, predictor)
    most = max_frames or source.length or 1_000_000
    learner = _Learner(bundle, None if scorer is None else Accuracy(scorer, window=1, most=most), on_frame)
    run_loop(
        source,
        predictor,
        (),
        bundle.spec.labels,
        statistics=RunStatistics(),
        max_frames=max_frames,
        steps=(learner,),
    )
    reference = learn(learner.frames, source=source.name, settings=predictor.settings, window=window)
    files: dict[str, Report | Reference] = {SIGNALS: reference}
    if learner.accuracy is not None:
        estimates = learner.accuracy.estimates(learner.accuracy.kept)
        files[ACCURACY] = _report(bundle, source, predictor.settings, estimates, len(learner.frames))
    return with_reference(bundle, files, output, replace=replace)


class _Learner(Step):
    """Keeps the signals of every frame, and scores it where there are labels."""

    stage = "watch"

    def __init__(self, bundle: Bundle, accuracy: Accuracy | None, on_frame: Callable[[int], None]) -> None:
        self.frames: list[FrameSignals] = []
        self.accuracy = accuracy
        self._labels = len(bundle.spec.labels)
        self._on_frame = on_frame

    def __call__(self, frame: Frame, result: Result) -> tuple[Frame, Result]:
        self.frames.append(signals_of(frame, result, self._labels))
        if self.accuracy is not None:
            self.accuracy.add(frame, result)
        self._on_frame(len(self.frames))
        return frame, result


def _scorer(bundle: Bundle, source: Source, predictor: Predictor) -> Scorer | None:
    if source.labels is None:
        return None
    try:
        return scorer_for(bundle.spec, source, max_detections=predictor.postprocess.max_detections)
    except EdgeError:
        if isinstance(source, LabelledSource):
            raise
        return None


def _report(
    bundle: Bundle, source: Source, settings: Mapping[str, Any], estimates: Mapping[str, Estimate], frames: int
) -> Report:
    measured = tuple(
        Measurement(name=name, value=one.value, unit="fraction", higher_is_better=True, interval=one.interval)
        for name, one in estimates.items()
        if one.value is not None
    )
    if not measured:
        raise DataError(
            f"{source.name}: no frame has a labelled object, so there is no accuracy to keep; use other frames"
        )
    digest = source.dataset.digest if isinstance(source, LabelledSource) else _digest(f"{source.name} {frames}")
    device = describe_device()
    return Report(
        bundle=identity_of(bundle, settings, settings["precision"]),
        data=DataIdentity(uri=source.name, digest=digest, images=frames),
        settings={"evaluate": dict(settings)},
        device=device.identity,
        software=device.software,
        measurements=measured,
        notes=("measured frame by frame, as a run does, at the run's own thresholds",),
        created=utc_now(),
    )


def _digest(text: str) -> str:
    """Of a film, which follows from its name."""
    return hashlib.sha256(text.encode()).hexdigest()
