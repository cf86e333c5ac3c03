"""What is done to a frame and its result between the network and whoever sees them: one file per step, found by its name."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from edgewright.runtime import plugins
from edgewright.runtime.results import Frame, Result
from edgewright.runtime.sources import IMAGE_SUFFIXES


@dataclass(frozen=True)
class StepContext:
    """What a step may need to know of the run: the class names, the network's task, the least score that is reported; the
    source's rate, and whether it is live."""

    labels: tuple[str, ...]
    task: str = "detect"
    conf_threshold: float = 0.0
    fps: float | None = None
    live: bool = False

    @property
    def has_scored_objects(self) -> bool:
        """Whether the network may be asked for less sure objects, without changing what it says of the others."""
        return self.task in ("detect", "instance")


class Step(ABC):
    """Takes every frame, in order, with what was found on it, and gives both on; close it, or use it in `with`.

    Nobody sees a frame before it went through all steps: nothing is drawn and no sink is called. A frame of several sources
    comes with the name of its own. What a step changes it changes in a copy, for the picture may belong to the source.

    `stage` is the name that its time is counted under. With `least_score` it is given objects down to that score, also those
    that are too unsure to be reported: they are taken out behind the last step.
    """

    stage: str
    least_score: float | None = None

    @abstractmethod
    def __call__(self, frame: Frame, result: Result) -> tuple[Frame, Result]:
        """The frame and the result to go on with."""

    def close(self) -> None:  # noqa: B027 - most steps hold nothing
        """Give back what the step holds; harmless when repeated."""

    def __enter__(self) -> "Step":
        return self

    def __exit__(self, _: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def film_of(frame: Frame) -> str:
    """What the frame belongs to: its source, of picture files their folder."""
    path = Path(frame.source)
    return str(path.parent) if path.suffix.lower() in IMAGE_SUFFIXES else frame.source


def open_step(name: str, text: str, context: StepContext) -> Step:
    """The step `name` as `text` describes it: a module of this package offers `from_text(text, context) -> Step`."""
    step: Step = plugins.load(__name__, name).from_text(text, context)
    return step


@contextmanager
def open_steps(wanted: Mapping[str, str | None], context: StepContext) -> Iterator[tuple[Step, ...]]:
    """The steps that are `wanted`, by name and in that order; None leaves one out. Each is closed at the end.

    When one of them sees less sure objects than are reported, a last one takes those out again.
    """
    from edgewright.runtime.steps._threshold import Threshold  # which is built on this module

    with ExitStack() as stack:
        steps: list[Step] = [
            stack.enter_context(open_step(name, text, context)) for name, text in wanted.items() if text is not None
        ]
        if steps and least_score(steps, context.conf_threshold) < context.conf_threshold:
            steps.append(Threshold(context.conf_threshold))
        yield tuple(steps)


def least_score(steps: Sequence[Step], conf_threshold: float) -> float:
    """The score down to which a network must give objects for all `steps`, when those from `conf_threshold` on are reported."""
    return min([conf_threshold, *(step.least_score for step in steps if step.least_score is not None)])
