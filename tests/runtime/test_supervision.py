"""Live sources that fail, fall silent, change their size or give nonsense."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import numpy as np
import pytest
from tests.runtime.test_loop import Belt, Keep, OneBolt, run

from edgewright.runtime.errors import SourceError
from edgewright.runtime.overlapped import run_overlapped
from edgewright.runtime.results import Frame
from edgewright.runtime.sources import Source
from edgewright.runtime.supervision import Patience, SupervisedSource

QUICK = Patience(start_s=5, stall_s=0.05, first_delay_s=1, longest_delay_s=8, steady_s=1000)
PATIENCE_S = 10.0


class Camera(Source):
    """Gives `steps` one after the other: pictures, an exception to raise, or an event to wait for."""

    name, live, reopens = "camera", True, True

    def __init__(self, *steps: Any) -> None:
        self.steps = steps
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        for index, step in enumerate(self.steps):
            if isinstance(step, Exception):
                raise step
            if isinstance(step, threading.Event):
                step.wait(PATIENCE_S)
                continue
            yield Frame(step, index, time.monotonic(), self.name)

    def close(self) -> None:
        self.closed.set()


def picture(height: int = 4, width: int = 6) -> np.ndarray[Any, Any]:
    return np.zeros((height, width, 3), np.uint8)


def supervised(*cameras: Any, patience: Patience = QUICK, delays: list[float] | None = None) -> SupervisedSource:
    """A source that opens `cameras` in turn (an exception: it cannot be opened) and takes every frame of them."""
    following: Iterator[Any] = iter(cameras[1:])

    def reopen() -> Source:
        camera = next(following)
        if isinstance(camera, Exception):
            raise camera
        assert isinstance(camera, Source)
        return camera

    noted = [] if delays is None else delays
    return SupervisedSource(cameras[0], reopen, patience=patience, newest=False, chance=lambda: 1.0, sleep=noted.append)


def first(source: Source, number: int) -> list[Frame]:
    frames = iter(source)
    return [next(frames) for _ in range(number)]


UNPLUGGED = SourceError("unplugged")


def test_a_source_that_dies_is_opened_again_and_its_frames_are_numbered_on(caplog: pytest.LogCaptureFixture) -> None:
    dead = Camera(picture(), picture(), UNPLUGGED)
    with caplog.at_level(logging.WARNING), supervised(dead, Camera(*[picture()] * 3)) as source:
        states: list[str] = [source.state]
        assert [frame.index for frame in first(source, 4)] == [0, 1, 2, 3]
        states.append(source.state)
        assert +source.events == {"failures": 1, "restarts": 1}
    assert "unplugged; trying again in 1.0 s" in caplog.text
    assert dead.closed.is_set()
    assert [*states, source.state] == ["starting", "running", "stopped"]


def test_a_stream_that_ends_is_opened_again() -> None:
    with supervised(Camera(picture()), Camera(picture())) as source:
        assert len(first(source, 2)) == 2
        assert source.events["failures"] == 1


def test_delays_double_up_to_the_longest_while_it_cannot_be_opened() -> None:
    delays: list[float] = []
    cameras = (Camera(UNPLUGGED), *[SourceError("no route to host")] * 5, Camera(picture()))
    with supervised(*cameras, delays=delays) as source:
        first(source, 1)
    assert delays == [1, 2, 4, 8, 8, 8]


def test_delays_begin_anew_after_a_steady_time() -> None:
    delays: list[float] = []
    cameras = [Camera(picture(), UNPLUGGED) for _ in range(4)]
    with supervised(*cameras, delays=delays, patience=Patience(first_delay_s=1, steady_s=-1)) as source:
        first(source, 4)
    assert delays == [1, 1, 1]


@pytest.mark.parametrize(("chance", "expected"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_a_delay_lies_somewhere_in_its_second_half(chance: float, expected: float) -> None:
    delays: list[float] = []
    source = SupervisedSource(
        Camera(UNPLUGGED), lambda: Camera(picture()), patience=QUICK, chance=lambda: chance, sleep=delays.append
    )
    with source:
        first(source, 1)
    assert delays == [expected]


def test_a_read_that_never_returns_is_left_behind_and_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    stuck = threading.Event()
    silent = Camera(picture(), stuck, picture())
    with caplog.at_level(logging.WARNING), supervised(silent, Camera(*[picture()] * 2)) as source:
        assert [frame.index for frame in first(source, 3)] == [0, 1, 2]
        assert +source.events == {"stalls": 1, "restarts": 1}
        assert "gave no frame for 0.05 s" in caplog.text
        # When the call comes back at last, what it brings is not taken, and the device is closed by the one who opened it.
        assert not silent.closed.is_set()
        stuck.set()
        assert silent.closed.wait(PATIENCE_S)


def test_no_reader_is_started_while_too_many_are_stuck() -> None:
    stuck = [threading.Event() for _ in range(2)]
    delays: list[float] = []
    cameras = [*(Camera(picture(), event) for event in stuck), Camera(picture())]
    following = iter(cameras[1:])

    def sleep(delay_s: float) -> None:
        delays.append(delay_s)
        if len(delays) == 4:
            stuck[0].set()
            assert cameras[0].closed.wait(PATIENCE_S)
            time.sleep(0.05)

    patience = Patience(start_s=5, stall_s=0.05, first_delay_s=1, most_stuck=2, steady_s=1000)
    source = SupervisedSource(
        cameras[0], lambda: next(following), patience=patience, newest=False, chance=lambda: 1.0, sleep=sleep
    )
    with source:
        assert len(first(source, 3)) == 3
        assert source.events["restarts"] == 2
        assert len(delays) >= 4
    stuck[1].set()


def test_a_change_of_size_is_counted_logged_and_passed_on(caplog: pytest.LogCaptureFixture) -> None:
    camera = Camera(picture(4, 6), picture(8, 6), picture(8, 6))
    with caplog.at_level(logging.WARNING), supervised(camera) as source:
        assert [frame.size_hw for frame in first(source, 3)] == [(4, 6), (8, 6), (8, 6)]
        assert source.events["size_changes"] == 1
    assert "changed from (4, 6) to (8, 6)" in caplog.text


@pytest.mark.parametrize(
    "nonsense",
    [None, np.zeros((0, 6, 3), np.uint8), np.zeros((4, 6), np.uint8), np.zeros((4, 6, 3), np.float32)],
    ids=["nothing", "empty", "grey", "floats"],
)
def test_a_corrupt_frame_is_left_out_and_counted(nonsense: Any) -> None:
    with supervised(Camera(picture(), nonsense, picture())) as source:
        assert [frame.index for frame in first(source, 2)] == [0, 1]
        assert (source.skipped, source.events["corrupt_frames"]) == (1, 1)


def test_an_unexpected_error_of_a_driver_is_a_failure_like_any_other(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), supervised(Camera(OSError(5, "I/O error")), Camera(picture())) as source:
        assert len(first(source, 1)) == 1
    assert "camera failed: OSError: [Errno 5] I/O error" in caplog.text


def test_only_the_newest_frame_is_kept() -> None:
    reached = threading.Event()

    class Fast(Camera):
        def __iter__(self) -> Iterator[Frame]:
            yield from super().__iter__()
            reached.set()
            threading.Event().wait(0.2)

    with SupervisedSource(Fast(*[picture()] * 5), Camera, patience=QUICK) as source:
        assert reached.wait(PATIENCE_S)
        assert [frame.index for frame in first(source, 1)] == [4]
        assert source.dropped == 4


def within(seconds: float, body: Callable[[], object]) -> bool:
    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


@pytest.mark.parametrize("waiting_for", ["a frame", "the next attempt"])
def test_an_interrupt_ends_every_wait(waiting_for: str) -> None:
    event = threading.Event()
    camera = Camera(picture(), event) if waiting_for == "a frame" else Camera(UNPLUGGED)
    patience = Patience(start_s=1000, stall_s=1000, first_delay_s=1000, longest_delay_s=1000)
    source = SupervisedSource(camera, Camera, patience=patience)
    threading.Timer(0.05, source.interrupt).start()
    assert within(PATIENCE_S, lambda: list(source))
    assert source.state == "stopped"
    event.set()
    source.close()


def test_a_loop_goes_on_when_its_source_dies() -> None:
    sink = Keep()
    with supervised(Camera(picture(), UNPLUGGED), Camera(*[picture(8, 8)] * 9)) as source:
        run(source, OneBolt(), [sink], loop=run_overlapped, max_frames=4, newest=False)
    assert [output.frame.index for output in sink.outputs] == [0, 1, 2, 3]
    assert [output.frame.size_hw for output in sink.outputs] == [(4, 6), (8, 8), (8, 8), (8, 8)]


def test_a_clock_that_is_set_back_moves_no_age_and_no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = count(1_000_000, -3600)
    monkeypatch.setattr(time, "time", lambda: float(next(hours)))
    sink = Keep()
    with supervised(Camera(picture(), UNPLUGGED), Camera(*[picture()] * 9)) as source:
        run(source, OneBolt(), [sink], loop=run_overlapped, max_frames=3, newest=False)
    run(Belt(3), OneBolt(), [sink])
    assert len(sink.outputs) == 6
    assert all(0 <= output.age_s < PATIENCE_S for output in sink.outputs)
    assert all(0 <= seconds < PATIENCE_S for output in sink.outputs for seconds in output.latency_s.values())
