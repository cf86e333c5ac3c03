"""Frames through a network into sinks, one after the other, until the source ends or somebody says stop."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

from edgewright.runtime.draw import annotate
from edgewright.runtime.errors import BackendError
from edgewright.runtime.pending import EngineCall
from edgewright.runtime.results import Detections, Frame, Image, Result
from edgewright.runtime.sinks import Output, Sink
from edgewright.runtime.sources import Source
from edgewright.runtime.steps import Step
from edgewright.runtime.timing import Laps, StageSummary, Timings

# The first inferences fill caches and start threads.
WARMUP_FRAMES = 3


class Network(Protocol):
    """The steps of a predictor; a network that needs no regions from outside proposes None.

    One whose `infer` has parts that are to be timed apart has `infer_parts`, their seconds in the last call. One that can be
    at several frames at once offers `lanes(count)`, see `runtime.lanes`, and says by `streams` how many it works on at a time, and by
    `batch` how many frames one of them takes.
    """

    def propose(self, image: Image, names: Sequence[str], /) -> Any: ...
    def prepare(self, image: Image, regions: Any, /) -> tuple[Any, Any]: ...
    def infer(self, feeds: Any, /) -> Any: ...
    def finish(self, outputs: Any, placement: Any, /) -> Result: ...


class SourceTally:
    """What a run did with the frames of one of several sources."""

    def __init__(self) -> None:
        self.frames = 0
        self.detections = 0
        self._timings = Timings()

    def count(self, detections: int, age_s: float) -> None:
        self.frames += 1
        self.detections += detections
        self._timings.record("age", age_s)

    @property
    def age(self) -> StageSummary | None:
        """The distribution of the age of its frames at the sinks; None without frames."""
        return self._timings.summary("age") if self.frames else None


class RunStatistics:
    """What a run did so far; complete also when the run ends by an error."""

    def __init__(self) -> None:
        self.frames = 0
        self.detections = 0
        # Whether results are objects; class maps have none to count.
        self.counts_objects = False
        # Frames of a live source that a newer one replaced before the loop had time for them.
        self.dropped = 0
        # What went wrong and was put right, by its name.
        self.events: Counter[str] = Counter()
        self.seconds = 0.0
        # How often the network was run, where frames may share an inference.
        self.inferences = 0
        # Of a run of several sources, each by its name, once it gave a frame.
        self.by_source: dict[str, SourceTally] = {}
        self._warmup = Timings()
        self._steady = Timings()

    @property
    def warmup_frames(self) -> int:
        """How many frames at the start are left out of the summaries: none when there was nothing but warm-up."""
        return WARMUP_FRAMES if self.frames > WARMUP_FRAMES else 0

    @property
    def frames_per_s(self) -> float:
        return self.frames / self.seconds if self.seconds else 0.0

    def summaries(self) -> dict[str, StageSummary]:
        """The distribution of each stage's durations."""
        return (self._steady if self.warmup_frames else self._warmup).summaries()

    def count(self, result: Result, seconds_by_stage: dict[str, float], origin: str = "") -> None:
        """Count one frame, of the source `origin`, with its result and durations."""
        found = len(result) if isinstance(result, Detections) else 0
        self.frames += 1
        self.detections += found
        self.counts_objects |= isinstance(result, Detections)
        if origin:
            self.by_source.setdefault(origin, SourceTally()).count(found, seconds_by_stage["age"])
        (self._warmup if self.frames <= WARMUP_FRAMES else self._steady).record_all(seconds_by_stage)


def run_loop(
    source: Source,
    network: Network,
    sinks: Sequence[Sink],
    labels: Sequence[str],
    *,
    statistics: RunStatistics,
    max_frames: int | None = None,
    stop: threading.Event | None = None,
    on_output: Callable[[Output], None] | None = None,
    steps: Sequence[Step] = (),
) -> None:
    """Run every frame of `source` through `network` and `steps` into all `sinks`; the frame at hand is finished after `stop`.

    Sources and sinks are left open; errors of either end the loop. `statistics` fills up as it runs.
    """
    frames, start = iter(source), time.perf_counter() - statistics.seconds
    while (max_frames is None or statistics.frames < max_frames) and not (stop is not None and stop.is_set()):
        laps = Laps()
        frame = next(frames, None)
        if frame is None:
            break
        laps.mark("capture")
        try:
            result = _found(frame, network, laps)
        except BackendError:
            # The caller may go on with another engine, and this frame does not come again.
            statistics.events["frames_lost"] += 1
            raise
        deliver(
            frame,
            result,
            sinks,
            labels,
            laps,
            statistics=statistics,
            start_s=start,
            on_output=on_output,
            steps=steps,
        )


def deliver(
    frame: Frame,
    result: Result,
    sinks: Sequence[Sink],
    labels: Sequence[str],
    laps: Laps,
    *,
    statistics: RunStatistics,
    start_s: float,
    on_output: Callable[[Output], None] | None,
    steps: Sequence[Step] = (),
) -> None:
    """Take the frame through `steps`, draw what was found when a sink wants that, write it into all `sinks`, and count it.

    `start_s` is when the loop began, by `time.perf_counter`.
    """
    for step in steps:
        frame, result = step(frame, result)
        laps.mark(step.stage)
    picture = None
    if any(sink.wants_picture for sink in sinks):
        picture = annotate(frame.image, result, labels)
        laps.mark("draw")
    output = Output(frame, result, time.monotonic() - frame.time_s, dict(laps.seconds), picture)
    for sink in sinks:
        sink.write(output)
    if sinks:
        laps.mark("sink")
    statistics.seconds = time.perf_counter() - start_s
    statistics.count(
        result, {**laps.seconds, "end_to_end": sum(laps.seconds.values()), "age": output.age_s}, frame.origin
    )
    if on_output is not None:
        on_output(output)


@contextmanager
def stop_on_signals(on_stop: Callable[[], None] = lambda: None) -> Iterator[threading.Event]:
    """An event that SIGINT (Ctrl-C) or SIGTERM sets; a second signal acts as if nobody had asked for the event.

    `on_stop` is called too, within the handler: it must not take locks.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_signal(number: int, _: FrameType | None) -> None:
        stop.set()
        on_stop()
        signal.signal(number, before[signal.Signals(number)])

    try:
        for number in before:
            signal.signal(number, on_signal)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _found(frame: Frame, network: Network, laps: Laps) -> Result:
    regions = network.propose(frame.image, frame.names)
    if regions is not None:
        laps.mark("propose")
    feeds, placement = network.prepare(frame.image, regions)
    laps.mark("prepare")
    with EngineCall():
        outputs = network.infer(feeds)
    laps.mark("infer")
    laps.split("infer", getattr(network, "infer_parts", None))
    result = network.finish(outputs, placement)
    laps.mark("finish")
    return result
