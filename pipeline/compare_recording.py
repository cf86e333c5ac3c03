"""A recorded run and a bundle on the recorded frames: what would be lost, new or called otherwise."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from edgewright.pipeline.agreement import class_table, renumbered
from edgewright.pipeline.compare import Compared, Runner, Subject, check_comparable, identity, notes
from edgewright.pipeline.comparison import Comparison, Side
from edgewright.pipeline.comparison_totals import Totals, WorstFrame
from edgewright.pipeline.console import progress
from edgewright.pipeline.report.schema import utc_now
from edgewright.pipeline.track_differences import TrackTotals
from edgewright.runtime.errors import MissingDependencyError, SourceError
from edgewright.runtime.heads import check_suppression
from edgewright.runtime.predictor import open_predictor
from edgewright.runtime.recording import Header, Recording
from edgewright.runtime.results import Detections, Frame, Result
from edgewright.runtime.spec import ModelSpec, PostprocessSpec
from edgewright.runtime.steps import StepContext, least_score, open_steps


def compare_recording(
    folder: Path, b: Runner, *, max_frames: int | None = None, limits: Mapping[str, float] | None = None
) -> Compared:
    """How far B agrees with what the recorded run found, on its frames and with the options that it was given.

    Tracks are compared too when the run was tracked; B's objects are followed by the same tracker. `limits` are those of
    `compare`.
    """
    recording = Recording(folder)
    header = recording.header
    recorded = _recorded_side(header)
    spec = b.bundle.spec
    check_comparable(
        Subject(recorded.name, header.about["bundle"]["task"]), Subject(spec.name, spec.task), limits or {}
    )
    totals = Totals(header.labels, spec.labels)
    names, numbers = class_table(header.labels, spec.labels)
    followed = TrackTotals(names)
    with ExitStack() as stack:
        second = stack.enter_context(_Second(b, header))
        for entry in progress(islice(recording, max_frames), total=len(recording), description="compare"):
            if entry.image is None:
                recording.skipped += 1
                continue
            frame = Frame(entry.image, entry.index, 0.0, entry.source, meta={"pos_msec": 1000 * entry.position_s})
            found, answer = entry.result, second(frame)
            pairing = totals.add(frame, found, answer)
            same = renumbered(answer, numbers)
            if pairing is not None and isinstance(found, Detections) and isinstance(same, Detections):
                followed.add(frame, found, same, pairing)
        if not totals.frames:
            raise SourceError(f"recording {folder} holds no whole frame; record again")
        b_side = identity(b, second.predictor)
    held = tuple(totals.limits(limits or {}))
    worst = totals.worst()
    comparison = Comparison(
        passed=all(limit.holds for limit in held),
        a=recorded,
        b=b_side,
        source=str(folder),
        frames=totals.frames,
        objects=totals.objects(),
        classes=tuple(totals.classes()),
        flips=tuple(totals.flips()),
        pixels=totals.pixels(),
        tracks=followed.tracks(),
        worst=tuple(frame.difference for frame in worst if frame.differs),
        first_difference=None,
        limits=held,
        notes=(*notes(header.labels, spec.labels, recording.skipped), *second.notes, *_own_notes(header, b, worst)),
        created=utc_now(),
    )
    return Compared(comparison, worst, (header.labels, spec.labels))


class _Second:
    """B as the recorded run would have run it: with its thresholds, its options, its tracker."""

    def __init__(self, side: Runner, header: Header) -> None:
        asked = header.about["asked"]
        spec = side.bundle.spec
        chosen = _settings(spec, asked)
        self.notes: list[str] = []
        with ExitStack() as stack:
            context = StepContext(spec.labels, spec.task, chosen.conf_threshold, header.fps, header.live)
            self._steps = stack.enter_context(open_steps({"track": self._tracker(asked)}, context))
            self.predictor = stack.enter_context(
                open_predictor(
                    side.bundle,
                    backend=side.backend,
                    precision=side.precision,
                    threads=side.threads,
                    postprocess=chosen.model_copy(
                        update={"conf_threshold": least_score(self._steps, chosen.conf_threshold)}
                    ),
                    tiles=asked.get("tiles"),
                )
            )
            self._stack = stack.pop_all()

    def __call__(self, frame: Frame) -> Result:
        result = self.predictor(frame.image)
        for step in self._steps:
            frame, result = step(frame, result)
        return result

    def __enter__(self) -> "_Second":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _tracker(self, asked: Mapping[str, Any]) -> str | None:
        tracker = asked.get("track")
        if tracker is None:
            return None
        try:
            import_module("edgewright.runtime.tracking._library").check_installed()
        except MissingDependencyError as err:
            self.notes.append(f"B is not tracked, so its new tracks are not known: {err}")
            return None
        return str(tracker)


def _recorded_side(header: Header) -> Side:
    bundle, settings = header.about["bundle"], header.about["settings"]
    precision = settings.get("executed_precision", settings.get("precision", "unknown"))
    return Side(
        name=bundle["name"], digest=bundle["digest"], backend=str(settings["backend"]), precision=str(precision)
    )


def _settings(spec: ModelSpec, asked: Mapping[str, Any]) -> PostprocessSpec:
    names = {"conf": "conf_threshold", "iou": "iou_threshold", "nms": "nms", "refine": "refine"}
    changes = {field: asked[option] for option, field in names.items() if option in asked}
    if "nms" in changes:
        check_suppression(spec, changes["nms"])
    if changes.get("refine") == "none":
        changes["refine"] = None
    return spec.postprocess.model_copy(update=changes)


def _own_notes(header: Header, b: Runner, worst: Sequence[WorstFrame]) -> Iterator[str]:
    if any(frame.differs for frame in worst):
        yield (
            "a recording keeps no tensors, so no first stage that differs is sought; with both bundles at hand: "
            "compare A B --frames replay:DIR"
        )
    asked, settings = header.about["asked"], header.about["settings"]
    given = ", ".join(f"--{name} {value}" for name, value in asked.items() if name != "blur")
    if given:
        yield f"B runs as the recorded run did: {given}"
    if "blur" in asked:
        yield f"the recorded pictures are blurred (--blur {asked['blur']}); B sees them so, A did not"
    before, now = settings.get("conf_threshold"), b.bundle.spec.postprocess.conf_threshold
    if "conf" not in asked and before != now:
        yield f"the least score is {before} in A and {now} in B, as their bundles say"
