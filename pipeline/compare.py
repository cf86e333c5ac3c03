"""Two bundles, two ways to run one, or a recorded run and a bundle, on the same unlabelled frames."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from edgewright.pipeline.agreement import class_table
from edgewright.pipeline.comparison import Comparison, Side
from edgewright.pipeline.comparison_totals import LIMITS, Totals, WorstFrame
from edgewright.pipeline.console import progress
from edgewright.pipeline.first_difference import first_difference
from edgewright.pipeline.report.schema import utc_now
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import SourceError, UsageError
from edgewright.runtime.predictor import Predictor, open_predictor
from edgewright.runtime.results import Frame
from edgewright.runtime.sources import Source, open_source

_DETECTORS = ("detect", "instance")
# Finding the first difference costs a few runs of both networks for every frame.
_WALKED = 3


class Runner(NamedTuple):
    """A bundle and how to run it; `threads` None leaves it to the backend."""

    bundle: Bundle
    backend: str = "ort"
    precision: str = "fp32"
    threads: int | None = None


@dataclass(frozen=True, eq=False)
class Compared:
    """What there is to say, and the frames to show for it, the worst first."""

    comparison: Comparison
    worst: tuple[WorstFrame, ...]
    labels: tuple[tuple[str, ...], tuple[str, ...]]


class Subject(NamedTuple):
    """What is compared, by name and task."""

    name: str
    task: str


def compare(
    a: Runner,
    b: Runner,
    source: str,
    *,
    max_frames: int | None = None,
    limits: Mapping[str, float] | None = None,
    walk: bool = True,
) -> Compared:
    """How far B agrees with A on the frames of the source URI, and where the two begin to differ (`walk`).

    `limits` by name of LIMITS are the most that may be; without any, the comparison passes. UsageError for networks of different
    kinds, and for a source without end and no `max_frames`.
    """
    first, second = (Subject(side.bundle.spec.name, side.bundle.spec.task) for side in (a, b))
    check_comparable(first, second, limits or {})
    with ExitStack() as stack:
        opened = stack.enter_context(open_source(source))
        frames = _frames(opened, max_frames)
        run_a, run_b = (stack.enter_context(_opened(side)) for side in (a, b))
        totals = Totals(run_a.spec.labels, run_b.spec.labels)
        for frame in frames:
            totals.add(frame, run_a(frame.image), run_b(frame.image))
        if not totals.frames:
            raise SourceError(f"source '{source}' gives no frame; choose another for --frames")
        worst = totals.worst()
        found = first_difference(run_a, run_b, [frame.image for frame in worst[:_WALKED]]) if walk else None
    held = tuple(totals.limits(limits or {}))
    comparison = Comparison(
        passed=all(limit.holds for limit in held),
        a=identity(a, run_a),
        b=identity(b, run_b),
        source=source,
        frames=totals.frames,
        objects=totals.objects(),
        classes=tuple(totals.classes()),
        flips=tuple(totals.flips()),
        pixels=totals.pixels(),
        worst=tuple(frame.difference for frame in worst if frame.differs),
        first_difference=found,
        limits=held,
        notes=tuple(notes(run_a.spec.labels, run_b.spec.labels, opened.skipped)),
        created=utc_now(),
    )
    return Compared(comparison, worst, (a.bundle.spec.labels, b.bundle.spec.labels))


def check_comparable(a: Subject, b: Subject, limits: Iterable[str]) -> None:
    """UsageError for networks whose results are of different kinds, or of a kind that `compare` does not know, and for unknown
    limits."""
    kinds = [("detect" if subject.task in _DETECTORS else subject.task) for subject in (a, b)]
    if kinds[0] != kinds[1]:
        raise UsageError(
            f"{a.name} is a {a.task} network and {b.name} a {b.task} network, whose results cannot be compared; "
            "give two networks of one kind"
        )
    if kinds[0] not in ("detect", "semantic", "panoptic"):
        raise UsageError(f"{a.name} is a {a.task} network; compare knows detectors, semantic and panoptic networks")
    unknown = [name for name in limits if name not in LIMITS]
    if unknown:
        raise UsageError(f"there is no limit '{unknown[0]}'; there are: {', '.join(LIMITS)}")


def _frames(source: Source, max_frames: int | None) -> Iterable[Frame]:
    if max_frames is None and source.length is None:
        raise UsageError(f"source '{source.name}' has no known end; say --max-frames N")
    ends = [count for count in (source.length, max_frames) if count is not None]
    return progress(islice(source, max_frames), total=min(ends), description="compare")


def _opened(side: Runner) -> Predictor:
    return open_predictor(side.bundle, backend=side.backend, precision=side.precision, threads=side.threads)


def identity(side: Runner, predictor: Predictor) -> Side:
    """What ran, for the report."""
    executed = predictor.settings.get("executed_precision", side.precision)
    return Side(name=side.bundle.spec.name, digest=side.bundle.digest, backend=side.backend, precision=str(executed))


def notes(labels_a: Sequence[str], labels_b: Sequence[str], skipped: int) -> Iterator[str]:
    """What a reader has to know beside the numbers: frames left out, and classes of one side alone."""
    if skipped:
        yield f"{skipped} frames could not be read and were left out"
    names, numbers = class_table(labels_a, labels_b)
    strange = [names[n] for n in numbers.tolist() if n >= len(labels_a)]
    lacking = [labels_a[n] for n in range(len(labels_a)) if n not in set(numbers.tolist())]
    for which, labels in (("B has and A has not", strange), ("A has and B has not", lacking)):
        if labels:
            yield f"{len(labels)} classes that {which}: {', '.join(labels[:5])}{', ...' if len(labels) > 5 else ''}"
