"""What is done between the network and the sinks."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgewright.runtime.errors import UsageError
from edgewright.runtime.loop import RunStatistics, run_loop
from edgewright.runtime.overlapped import run_overlapped
from edgewright.runtime.results import Detections, Frame, Image, Result, SemanticMap
from edgewright.runtime.sinks import Output, Sink
from edgewright.runtime.sources import Source
from edgewright.runtime.steps import Step, StepContext, least_score, open_steps
from edgewright.runtime.steps._threshold import Threshold

Loop = Callable[..., None]


class Belt(Source):
    name = "belt"

    def __iter__(self) -> Iterator[Frame]:
        for index in range(5):
            yield Frame(np.full((48, 64, 3), 50, np.uint8), index, time.monotonic(), self.name)


class Two:
    """A network that finds one sure and one unsure object."""

    def propose(self, image: Image, names: Sequence[str]) -> None:
        return None

    def prepare(self, image: Image, regions: None) -> tuple[Any, Any]:
        return image, None

    def infer(self, feeds: Any) -> Any:
        return feeds

    def finish(self, outputs: Any, placement: Any) -> Detections:
        return Detections(np.zeros((2, 4), np.float32), np.array([0.9, 0.1], np.float32), np.zeros(2, np.int64))


class Keep(Sink):
    wants_picture = True

    def __init__(self) -> None:
        self.outputs: list[Output] = []

    def write(self, output: Output) -> None:
        self.outputs.append(output)


class Brighter(Step):
    """Writes the number of objects that it saw into a copy of the picture, after a while."""

    stage = "blur"
    least_score = 0.05

    def __init__(self) -> None:
        self.closed = False

    def __call__(self, frame: Frame, result: Result) -> tuple[Frame, Result]:
        assert isinstance(result, Detections)
        time.sleep(0.002)
        return replace(frame, image=np.full_like(frame.image, 100 + len(result))), result

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("loop", [run_loop, run_overlapped])
def test_steps_come_before_drawing_and_sinks_and_are_timed_apart(loop: Loop) -> None:
    keep, statistics = Keep(), RunStatistics()
    loop(Belt(), Two(), [keep], ("bolt",), statistics=statistics, steps=[Brighter(), Threshold(0.5)])
    assert [output.frame.image.max() for output in keep.outputs] == [102] * 5
    assert all(output.picture is not None and 102 in output.picture for output in keep.outputs)
    assert all(len(output.result) == 1 for output in keep.outputs if isinstance(output.result, Detections))
    assert statistics.detections == 5
    assert all(output.latency_s["blur"] >= 0.002 for output in keep.outputs)
    stages = list(statistics.summaries())
    assert stages.index("finish") < stages.index("blur") < stages.index("draw")


def test_the_network_gives_what_the_least_sure_step_wants() -> None:
    assert least_score([Brighter()], 0.5) == 0.05
    assert least_score([Brighter()], 0.01) == 0.01
    assert least_score([], 0.5) == 0.5


def test_a_threshold_leaves_maps_alone() -> None:
    frame = next(iter(Belt()))
    found = SemanticMap(np.zeros((48, 64), np.uint8))
    assert Threshold(0.5)(frame, found) == (frame, found)


def test_an_unknown_step_is_refused() -> None:
    with pytest.raises(UsageError, match="there is no step 'smear'"), open_steps({"smear": ""}, StepContext(("bolt",))):
        pass
    with open_steps({"smear": None}, StepContext(("bolt",))) as steps:
        assert steps == ()
