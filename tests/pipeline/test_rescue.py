"""What a run does when its engine fails."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import tiny_bundle

from edgewright.pipeline.rescue import Engines, Opener
from edgewright.pipeline.run import events, run
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import BackendError, MissingDependencyError, SinkError
from edgewright.runtime.loop import RunStatistics
from edgewright.runtime.predictor import Predictor, open_predictor
from edgewright.runtime.sinks import images
from edgewright.runtime.sources import open_source


@pytest.fixture(scope="module", name="bundle")
def bundle_fixture(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("rescue"))


class Engine:
    """Opens predictors; the one opened as number `n` fails in its inference number `fails[n]`."""

    def __init__(self, bundle: Bundle, *fails: int) -> None:
        self.bundle = bundle
        self.fails = fails
        self.opened: list[Predictor] = []
        self.closed = 0

    def __call__(self) -> Predictor:
        predictor = open_predictor(self.bundle, threads=1)
        fail_at = self.fails[len(self.opened)] if len(self.opened) < len(self.fails) else 0
        self.opened.append(predictor)
        infer, close, calls = predictor.backend.infer, predictor.backend.close, [0]

        def failing(feeds: Any) -> Any:
            calls[0] += 1
            if calls[0] == fail_at:
                raise BackendError("the device is gone")
            return infer(feeds)

        def closing() -> None:
            self.closed += 1
            close()

        predictor.backend.infer = failing  # type: ignore[method-assign]
        predictor.backend.close = closing  # type: ignore[method-assign]
        return predictor


def missing() -> Predictor:
    raise MissingDependencyError("'ov' needs the package 'openvino'")


def run_with(engines: Engines, loop: Any = "overlapped") -> RunStatistics:
    statistics = RunStatistics()
    with open_source("synthetic:1:12?size=64x96") as source, engines:
        run(source, engines.predictor, [], statistics=statistics, loop=loop, replace=engines.replace)
    return statistics


@pytest.mark.parametrize("loop", ["overlapped", "sequential"])
def test_an_engine_that_fails_is_opened_once_more_and_no_frame_is_lost_silently(bundle: Bundle, loop: str) -> None:
    engine = Engine(bundle, 3)
    engines = Engines([Opener("ort", engine)])
    statistics = run_with(engines, loop)
    assert engines.events == {"backend_restarts": 1}
    assert statistics.frames + statistics.events["frames_lost"] == 12
    assert statistics.frames >= 6
    assert engine.closed == len(engine.opened) == 2


def test_an_engine_that_fails_again_gives_way_to_the_fallback(bundle: Bundle) -> None:
    engine, other = Engine(bundle, 2, 2), Engine(bundle)
    engines = Engines([Opener("trt", engine), Opener("ort", other)])
    statistics = run_with(engines)
    assert engines.events == {"backend_restarts": 1, "backend_fallbacks": 1}
    assert statistics.frames + statistics.events["frames_lost"] == 12
    assert (engine.closed, other.closed, len(other.opened)) == (2, 1, 1)


def test_without_a_fallback_the_second_failure_is_the_error(bundle: Bundle) -> None:
    engine = Engine(bundle, 2, 2)
    with pytest.raises(BackendError, match="the device is gone"):
        run_with(Engines([Opener("ort", engine)]))
    assert engine.closed == 2


def test_a_missing_engine_gives_way_to_the_fallback_at_once(bundle: Bundle) -> None:
    engines = Engines([Opener("ov", missing), Opener("ort", Engine(bundle))])
    assert engines.events == {"backend_fallbacks": 1}
    engines.close()
    with pytest.raises(MissingDependencyError):
        Engines([Opener("ov", missing)])


def test_what_a_lenient_sink_lost_is_among_the_events(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: images.ImagesSink, output: Any) -> None:
        raise SinkError("no space left on device")

    monkeypatch.setattr(images.ImagesSink, "write", full)
    run_once: Callable[..., None] = run
    for lenient in (True, False):
        statistics = RunStatistics()
        with open_source("synthetic:1:4?size=64x96") as source, open_predictor(bundle, threads=1) as predictor:
            try:
                run_once(source, predictor, [f"images:{tmp_path}"], statistics=statistics, lenient=lenient)
            except SinkError:
                assert not lenient
            else:
                assert lenient
                assert events(source, statistics) == {"outputs_lost": 4}
