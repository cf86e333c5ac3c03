"""The loop whose stages overlap: while the engine works on one frame, the next is read and the last is drawn and written.

    capture ──▶ prepare ──▶ infer ──▶ finish, steps, draw, sinks
    (thread)    (thread)    (thread)  (the caller's thread)

Between the stages are channels of one or two frames. An error travels along them behind the frames before it, so the caller
gets it when these are written.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from edgewright.runtime.channel import Channel, Ended
from edgewright.runtime.errors import BackendError, StuckError
from edgewright.runtime.lanes import Answer, Lane, serial_lanes
from edgewright.runtime.loop import Network, RunStatistics, deliver
from edgewright.runtime.results import Frame
from edgewright.runtime.sinks import Output, Sink
from edgewright.runtime.sources import Source
from edgewright.runtime.steps import Step
from edgewright.runtime.timing import Laps

_log = logging.getLogger(__name__)
_READ_AHEAD = 2
# How long a thread may take to leave when the loop ends; only a source that does not answer needs longer.
_LEAVE_S = 2.0


def run_overlapped(
    source: Source,
    network: Network,
    sinks: Sequence[Sink],
    labels: Sequence[str],
    *,
    statistics: RunStatistics,
    max_frames: int | None = None,
    stop: threading.Event | None = None,
    on_output: Callable[[Output], None] | None = None,
    newest: bool | None = None,
    steps: Sequence[Step] = (),
) -> None:
    """As `run_loop`, with the same outputs in the same order; frames that the engine has begun are finished after `stop`.

    With `newest`, which is the default for live sources, a frame that nobody has taken when the next one comes is dropped and
    counted; without, every frame is waited for. `network` gets `prepare`, `infer` and `finish` from different threads.
    """
    left = None if max_frames is None else max_frames - statistics.frames
    line = _Line(source, network, left, stop or threading.Event(), source.live if newest is None else newest)
    start_s, dropped = time.perf_counter() - statistics.seconds, statistics.dropped
    delivered = 0
    try:
        line.start()
        while (done := line.next()) is not None:
            statistics.inferences += 1
            for frame, (outputs, placement) in zip(done.frames, done.answer.found, strict=True):
                laps = done.laps.copy()
                laps.mark("output_wait")
                result = network.finish(outputs, placement)
                laps.mark("finish")
                delivered += 1
                statistics.dropped = dropped + line.dropped
                deliver(
                    frame,
                    result,
                    sinks,
                    labels,
                    laps,
                    statistics=statistics,
                    start_s=start_s,
                    on_output=on_output,
                    steps=steps,
                )
    except StuckError:
        line.abandon()
        raise
    except BackendError:
        line.leave()
        # The caller may go on with another engine, and these frames do not come again.
        statistics.events["frames_lost"] += line.captured - line.dropped - delivered
        raise
    finally:
        line.leave()
        statistics.dropped = dropped + line.dropped


@dataclass(frozen=True, eq=False)
class _Taken:
    """Frames that go through the network at once, mostly one."""

    frames: Sequence[Frame]
    laps: Laps


@dataclass(frozen=True, eq=False)
class _Started:
    frames: Sequence[Frame]
    laps: Laps
    lane: Lane


@dataclass(frozen=True, eq=False)
class _Done:
    frames: Sequence[Frame]
    laps: Laps
    answer: Answer


class _Line:
    """The threads before the caller's, and the channels between them; `captured` counts the frames that the source gave."""

    def __init__(
        self, source: Source, network: Network, max_frames: int | None, stop: threading.Event, newest: bool
    ) -> None:
        self._source = source
        self._network = network
        self._max_frames = max_frames
        self._stop = stop
        # A source that keeps its newest frames itself is asked for one when the engine is free.
        self._on_demand = source.on_demand
        self._newest = newest and not self._on_demand
        self.captured = 0
        # One more than run at a time waits for its turn. A frame of a live source is taken when the engine is free instead:
        # waiting in the engine's queue it would only grow old.
        in_flight = getattr(network, "streams", 1) + (0 if newest else 1)
        self._taken = Channel[_Taken](1 if newest else _READ_AHEAD, newest=self._newest, given_up=stop.is_set)
        self._turns = Channel[None](in_flight)
        self._started = Channel[_Started](in_flight)
        self._done = Channel[_Done](in_flight)
        for _ in range(in_flight):
            self._turns.put(None)
        # The turn of a frame comes when the frame `in_flight` before it is taken by the caller, who is through with the one
        # before that then: one lane more than turns is enough.
        self._lanes = _lanes(network, in_flight + 1)
        self._threads = [
            _thread("capture", self._capture, self._taken),
            _thread("prepare", self._prepare, self._started),
            _thread("infer", self._infer, self._done),
        ]

    @property
    def dropped(self) -> int:
        return self._taken.dropped

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def next(self) -> _Done | None:
        """The next frame that the network is through with; None at the end. An error of any thread is raised here."""
        try:
            done = self._done.get()
        except Ended:
            return None
        self._turns.put(None)
        return done

    def leave(self) -> None:
        """End all threads, also those that wait."""
        for channel in (self._taken, self._turns, self._started, self._done):
            channel.cancel()
        deadline = time.monotonic() + _LEAVE_S
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()) if thread is self._threads[0] else None)
        if self._threads and self._threads[0].is_alive():
            _log.warning("%s does not answer; its reader is left behind", self._source.name)

    def abandon(self) -> None:
        """End all threads without waiting for any: one of them is in the engine for good."""
        self._threads = []
        self.leave()

    def _capture(self) -> None:
        batches = self._source.batches(getattr(self._network, "batch", 1))
        while not self._stop.is_set() and (self._newest or self.captured != self._max_frames):
            if self._on_demand:
                self._turns.get()
            laps = Laps()
            frames = next(batches, None)
            if frames is None:
                return
            if self._max_frames is not None and not self._newest:
                frames = frames[: self._max_frames - self.captured]
            laps.mark("capture")
            self.captured += len(frames)
            self._taken.put(_Taken(frames, laps))

    def _prepare(self) -> None:
        prepared = 0
        for number in count():
            if prepared == self._max_frames:
                return
            if not self._on_demand:
                self._turns.get()
            if self._stop.is_set():
                return
            taken = self._taken.get()
            frames, laps, lane = taken.frames, taken.laps, self._lanes[number % len(self._lanes)]
            prepared += len(frames)
            laps.mark("frame_wait")
            regions = [self._network.propose(frame.image, frame.names) for frame in frames]
            if regions[0] is not None:
                laps.mark("propose")
            lane.prepare([frame.image for frame in frames], regions)
            laps.mark("prepare")
            lane.start()
            self._started.put(_Started(frames, laps, lane))

    def _infer(self) -> None:
        while True:
            started = self._started.get()
            answer = started.lane.wait()
            started.laps.mark("engine_wait")
            started.laps.carve("engine_wait", answer.seconds)
            self._done.put(_Done(started.frames, started.laps, answer))


def _lanes(network: Network, lanes: int) -> tuple[Lane, ...]:
    offered = getattr(network, "lanes", None)
    made: tuple[Lane, ...] = serial_lanes(network, lanes) if offered is None else offered(lanes)
    return made


def _thread(
    name: str, body: Callable[[], None], channel: "Channel[_Taken] | Channel[_Started] | Channel[_Done]"
) -> threading.Thread:
    def run() -> None:
        error: BaseException | None = None
        try:
            body()
        except Ended:
            pass
        except BaseException as err:  # noqa: BLE001 - it is raised again in the caller's thread
            error = err
        channel.close(error)

    return threading.Thread(target=run, name=f"edgewright {name}", daemon=True)
