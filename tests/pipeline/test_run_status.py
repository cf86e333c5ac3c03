"""What a sink may ask of a run while it runs."""

from pathlib import Path
from typing import Any

import pytest
from tests.tiny import tiny_bundle

from edgewright.pipeline.rescue import Engines, Opener
from edgewright.pipeline.run import run
from edgewright.runtime import sinks
from edgewright.runtime.errors import BackendError
from edgewright.runtime.loop import RunStatistics
from edgewright.runtime.predictor import Predictor, open_predictor
from edgewright.runtime.sinks import Output, Sink, SinkContext
from edgewright.runtime.status import RunStatus, SourceStatus
from edgewright.runtime.supervision import open_supervised


class Asks(Sink):
    """Notes what the run does: when it is opened and at every output."""

    def __init__(self, context: SinkContext) -> None:
        assert context.status is not None
        self.ask = context.status
        self.heard: list[RunStatus] = [self.ask()]
        context.tell("listening")

    def write(self, output: Output) -> None:
        self.heard.append(self.ask())


@pytest.fixture(name="opened")
def opened_fixture(monkeypatch: pytest.MonkeyPatch) -> list[Asks]:
    opened: list[Asks] = []

    def open_sink(uri: str, context: SinkContext) -> Sink:
        opened.append(Asks(context))
        return opened[-1]

    monkeypatch.setattr(sinks, "open_sink", open_sink)
    return opened


@pytest.mark.parametrize(("uri", "last"), [("synthetic:1:4?size=64x96", 4), ("synthetic:1:4?size=64x96&fps=500", 1)])
def test_a_sink_hears_of_the_source_and_the_engine_and_may_say_something(
    tmp_path: Path, opened: list[Asks], uri: str, last: int
) -> None:
    said: list[str] = []
    with open_supervised(uri) as source, open_predictor(tiny_bundle(tmp_path), threads=1) as predictor:
        run(source, predictor, ["asks:"], statistics=RunStatistics(), max_frames=last, tell=said.append)
        first, *_, end = [*opened[0].heard, opened[0].ask()]
        assert said == ["listening"]
        assert (first.network, first.settings["backend"]) == (predictor.spec.name, "ort")
        assert first.sources == (SourceStatus(source.name, "starting"),)
        assert end.sources[0].state == "running"
        assert end.events == {}


def test_a_sink_hears_of_a_rescue_while_the_run_goes_on(tmp_path: Path, opened: list[Asks]) -> None:
    bundle, statistics, calls = tiny_bundle(tmp_path), RunStatistics(), [0]

    def failing_once() -> Predictor:
        predictor = open_predictor(bundle, threads=1)
        infer = predictor.backend.infer

        def infer_or_fail(feeds: Any) -> Any:
            calls[0] += 1
            if calls[0] == 3:
                raise BackendError("the device is gone")
            return infer(feeds)

        predictor.backend.infer = infer_or_fail  # type: ignore[method-assign]
        return predictor

    engines = Engines([Opener("ort", failing_once)], events=statistics.events)
    with open_supervised("synthetic:1:12?size=64x96") as source, engines:
        run(source, engines.predictor, ["asks:"], statistics=statistics, loop="sequential", replace=engines.replace)
    assert opened[0].heard[2].events == {}
    assert opened[0].heard[-1].events == {"backend_restarts": 1, "frames_lost": 1}
