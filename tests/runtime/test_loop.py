"""The loop from a source through a network into sinks."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from edgewright.runtime.errors import BackendError, SinkError, SourceError
from edgewright.runtime.loop import WARMUP_FRAMES, RunStatistics, run_loop, stop_on_signals
from edgewright.runtime.overlapped import run_overlapped
from edgewright.runtime.results import Detections, Frame, Image
from edgewright.runtime.sinks import Output, Sink
from edgewright.runtime.sources import Source
from edgewright.runtime.timing import STAGES, WAITS

LABELS = ("bolt",)
STEPS = ("prepare", "infer", "finish")


class Belt(Source):
    """`count` grey frames; then the end, or `failure`."""

    name = "belt"

    def __init__(self, count: int, failure: Exception | None = None) -> None:
        self.length = count
        self.failure = failure
        self.taken = 0

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.length or 0):
            self.taken += 1
            yield Frame(np.full((48, 64, 3), 50, np.uint8), index, time.monotonic(), self.name)
        if self.failure is not None:
            raise self.failure


class OneBolt:
    """A network that finds one bolt, whose box tells the number of the picture, and takes `infer_s` for it."""

    def __init__(self, fail_at: int | None = None, infer_s: float = 0.0) -> None:
        self.calls: list[str] = []
        self.fail_at = fail_at
        self.infer_s = infer_s

    def propose(self, image: Image, names: Sequence[str]) -> None:
        return None

    def prepare(self, image: Image, regions: None) -> tuple[dict[str, Any], tuple[int, ...]]:
        self.calls.append("prepare")
        return {"images": image}, image.shape[:2]

    def infer(self, feeds: dict[str, Any]) -> dict[str, Any]:
        self.calls.append("infer")
        if self.calls.count("infer") == self.fail_at:
            raise BackendError("the engine failed")
        time.sleep(self.infer_s)
        return {"number": self.calls.count("infer")}

    def finish(self, outputs: dict[str, Any], placement: tuple[int, ...]) -> Detections:
        self.calls.append("finish")
        box = np.array([[outputs["number"], 0, placement[1], placement[0]]], np.float32)
        return Detections(box, np.ones(1, np.float32), np.zeros(1, np.int64))


class Keep(Sink):
    """Keeps what it gets; the output number `fail_at` cannot be written."""

    def __init__(self, *, wants_picture: bool = False, fail_at: int | None = None) -> None:
        self._wants_picture = wants_picture
        self.fail_at = fail_at
        self.outputs: list[Output] = []

    @property
    def wants_picture(self) -> bool:
        return self._wants_picture

    def write(self, output: Output) -> None:
        if len(self.outputs) + 1 == self.fail_at:
            raise SinkError("the disk is full")
        self.outputs.append(output)


Loop = Callable[..., None]
both_loops = pytest.mark.parametrize("loop", [run_loop, run_overlapped], ids=["sequential", "overlapped"])


def run(
    source: Source, network: OneBolt, sinks: Sequence[Sink] = (), *, loop: Loop = run_loop, **options: Any
) -> RunStatistics:
    statistics = RunStatistics()
    loop(source, network, sinks, LABELS, statistics=statistics, **options)
    return statistics


@both_loops
def test_every_frame_passes_every_step_in_order_into_every_sink(loop: Loop) -> None:
    network, sinks = OneBolt(), (Keep(), Keep())
    statistics = run(Belt(5), network, sinks, loop=loop)
    # Of one frame in this order; overlapped, the steps of several frames mix.
    by_step = [[position for position, call in enumerate(network.calls) if call == step] for step in STEPS]
    assert [len(positions) for positions in by_step] == [5, 5, 5]
    assert all(list(of_one) == sorted(of_one) for of_one in zip(*by_step, strict=True))
    for sink in sinks:
        assert [output.frame.index for output in sink.outputs] == [0, 1, 2, 3, 4]
        results = [output.result for output in sink.outputs]
        assert [r.boxes_xyxy[0, 0] for r in results if isinstance(r, Detections)] == [1, 2, 3, 4, 5]
    assert (statistics.frames, statistics.detections) == (5, 5)


@both_loops
def test_pictures_are_drawn_only_when_a_sink_wants_them_and_never_on_the_frame(loop: Loop) -> None:
    plain, drawn = Keep(), Keep(wants_picture=True)
    run(Belt(1), OneBolt(), [plain], loop=loop)
    assert plain.outputs[0].picture is None
    run(Belt(1), OneBolt(), [plain, drawn], loop=loop)
    picture = drawn.outputs[0].picture
    assert picture is not None
    assert (picture != 50).any()
    assert (drawn.outputs[0].frame.image == 50).all()


@both_loops
def test_max_frames_takes_no_frame_more_from_the_source(loop: Loop) -> None:
    source = Belt(10)
    assert run(source, OneBolt(), max_frames=4, loop=loop).frames == 4
    assert source.taken == 4


def test_stop_ends_the_run_after_the_frame_at_hand() -> None:
    stop, sink = threading.Event(), Keep()

    def stop_after_three(output: Output) -> None:
        if output.frame.index == 2:
            stop.set()

    assert run(Belt(10), OneBolt(), [sink], stop=stop, on_output=stop_after_three).frames == 3
    assert len(sink.outputs) == 3


def test_the_age_of_a_frame_covers_what_happened_since_its_capture() -> None:
    sink = Keep()
    run(Belt(2), OneBolt(infer_s=0.02), [sink])
    for output in sink.outputs:
        assert output.age_s >= output.latency_s["infer"] >= 0.02
        assert list(output.latency_s) == ["capture", "prepare", "infer", "finish"]


def test_the_summaries_leave_the_warm_up_out() -> None:
    statistics = run(Belt(WARMUP_FRAMES + 7), OneBolt(), [Keep(wants_picture=True)])
    assert statistics.warmup_frames == WARMUP_FRAMES
    assert {stage: s.count for stage, s in statistics.summaries().items()} == dict.fromkeys(
        (stage for stage in STAGES if stage not in ("propose", "encode", "decode", "track", "blur", "watch", *WAITS)), 7
    )


@both_loops
def test_a_run_that_is_only_warm_up_is_summed_up_all_the_same(loop: Loop) -> None:
    statistics = run(Belt(2), OneBolt(), loop=loop)
    assert statistics.warmup_frames == 0
    assert statistics.summaries()["infer"].count == 2


@both_loops
def test_end_to_end_is_the_sum_of_the_stages(loop: Loop) -> None:
    statistics = run(Belt(1), OneBolt(infer_s=0.01), [Keep()], loop=loop)
    summaries = statistics.summaries()
    parts = sum(figures.max_ms for stage, figures in summaries.items() if stage not in ("end_to_end", "age"))
    assert summaries["end_to_end"].max_ms == pytest.approx(parts, rel=2e-3, abs=0.01)


@both_loops
@pytest.mark.parametrize(
    ("source", "network", "sink", "error"),
    [
        (lambda: Belt(2, SourceError("unplugged")), OneBolt, Keep, "unplugged"),
        (lambda: Belt(9), lambda: OneBolt(fail_at=3), Keep, "the engine failed"),
        (lambda: Belt(9), OneBolt, lambda: Keep(fail_at=3), "the disk is full"),
    ],
    ids=["source", "network", "sink"],
)
def test_an_error_ends_the_run_and_the_statistics_tell_what_was_done(
    source: Callable[[], Source], network: Callable[[], OneBolt], sink: Callable[[], Sink], error: str, loop: Loop
) -> None:
    statistics = RunStatistics()
    with pytest.raises((SourceError, BackendError, SinkError), match=error):
        loop(source(), network(), [sink()], LABELS, statistics=statistics)
    assert statistics.frames == 2
    assert statistics.summaries()["infer"].count == 2


# In a process of its own: libraries that other tests load may handle signals of this one.
_STOP_ONCE = """
import os, signal, sys
from edgewright.runtime.loop import stop_on_signals

number = int(sys.argv[1])
before = signal.getsignal(number)
with stop_on_signals() as stop:
    if stop.is_set():
        sys.exit("stopped before the signal")
    os.kill(os.getpid(), number)
    if not stop.wait(5):
        sys.exit("the signal was not heard")
if signal.getsignal(number) is not before:
    sys.exit("the handler did not come back")
"""
_STOP_TWICE = """
import os, signal, sys, time
from edgewright.runtime.loop import stop_on_signals

try:
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        stop.wait(5)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
except KeyboardInterrupt:
    sys.exit(0 if signal.getsignal(signal.SIGINT) is signal.default_int_handler else "the handler did not come back")
sys.exit("the second interrupt was held back")
"""


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_request_to_stop_and_handlers_come_back_afterwards(number: signal.Signals) -> None:
    done = run_python(_STOP_ONCE, str(int(number)))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_second_interrupt_is_not_held_back() -> None:
    done = run_python(_STOP_TWICE)
    assert (done.returncode, done.stderr) == (0, "")


def test_outside_the_main_thread_nothing_is_handled_and_nothing_fails() -> None:
    seen: list[bool] = []

    def body() -> None:
        with stop_on_signals() as stop:
            seen.append(stop.is_set())

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [False]
