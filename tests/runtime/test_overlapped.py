"""The loop whose stages overlap, beside the sequential one."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.runtime.test_loop import LABELS, Belt, Keep, OneBolt, run
from tests.tiny import blob_image, tiny_bundle

from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import BackendError, SinkError, SourceError
from edgewright.runtime.lanes import engine_lanes
from edgewright.runtime.loop import RunStatistics, run_loop
from edgewright.runtime.overlapped import run_overlapped
from edgewright.runtime.predictor import open_predictor
from edgewright.runtime.results import Detections, Frame
from edgewright.runtime.sinks import Output
from edgewright.runtime.sources import Source

PATIENCE_S = 10.0


def our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("edgewright")]


class Camera(Belt):
    """A live belt that gives a frame only when `ready` says that its number may come."""

    live = True

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.given = 0
        self.seen_at: dict[int, threading.Event] = {index: threading.Event() for index in range(count + 1)}

    def __iter__(self) -> Iterator[Frame]:
        for frame in super().__iter__():
            yield frame
            self.given += 1
            self.seen_at[self.given].set()


class Gate(OneBolt):
    """A network whose first inference lasts until `open` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()

    def infer(self, feeds: Any) -> Any:
        assert self.open.wait(PATIENCE_S)
        return super().infer(feeds)


class Slow(Keep):
    """A sink whose first write lasts until `open` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()

    def write(self, output: Output) -> None:
        assert self.open.wait(PATIENCE_S)
        super().write(output)


@pytest.mark.parametrize("busy", ["network", "sink"])
def test_frames_that_come_while_everybody_is_busy_are_replaced_by_newer_ones(busy: str) -> None:
    camera, gate, slow, plain = Camera(9), Gate(), Slow(), Keep()
    network, sink = (gate, plain) if busy == "network" else (OneBolt(), slow)

    def open_when_all_came() -> None:
        camera.seen_at[9].wait(PATIENCE_S)
        gate.open.set()
        slow.open.set()

    threading.Thread(target=open_when_all_came).start()
    statistics = run(camera, network, [sink], loop=run_overlapped)
    indices = [output.frame.index for output in sink.outputs]
    assert indices[-1] == 8
    assert indices == sorted(indices)
    # In hand at most: one in each of the sink, the engine and before it, and the newest.
    assert statistics.dropped == 9 - len(indices) >= 9 - 4


def test_with_all_frames_wanted_a_live_source_waits() -> None:
    statistics = run(Camera(6), OneBolt(), loop=run_overlapped, newest=False)
    assert (statistics.frames, statistics.dropped) == (6, 0)


def test_the_next_frame_is_prepared_and_the_last_one_written_while_the_engine_works() -> None:
    """Each stage waits until the others are at another frame, which only threads of their own can bring about."""
    reading, writing = threading.Event(), threading.Event()

    class Reader(Belt):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                if frame.index == 2:
                    reading.set()
                yield frame

    class Network(OneBolt):
        def infer(self, feeds: Any) -> Any:
            if self.calls.count("infer") == 1:
                assert reading.wait(PATIENCE_S)
                assert writing.wait(PATIENCE_S)
            return super().infer(feeds)

    class Writer(Keep):
        def write(self, output: Output) -> None:
            writing.set()
            super().write(output)

    assert run(Reader(4), Network(), [Writer()], loop=run_overlapped).frames == 4


def test_waits_and_stages_make_up_the_way_of_a_frame() -> None:
    sink = Keep()
    run(Belt(6), OneBolt(infer_s=0.01), [sink], loop=run_overlapped)
    for output in sink.outputs:
        stages = output.latency_s
        assert list(stages) == ["capture", "frame_wait", "prepare", "engine_wait", "infer", "output_wait", "finish"]
        assert stages["infer"] >= 0.01
        # The age begins within `capture`, when the frame was there.
        assert output.age_s == pytest.approx(sum(stages.values()) - stages["capture"], abs=0.01)


def test_after_stop_the_frames_that_were_begun_are_written_and_no_thread_is_left() -> None:
    stop, sink = threading.Event(), Keep()
    run(Belt(1000), OneBolt(), [sink], loop=run_overlapped, stop=stop, on_output=lambda output: stop.set())
    indices = [output.frame.index for output in sink.outputs]
    assert indices == list(range(len(indices)))
    assert 1 <= len(indices) <= 4
    assert our_threads() == []


@pytest.mark.parametrize("failing", ["source", "network", "sink", "caller"])
def test_no_thread_is_left_after_an_error(failing: str) -> None:
    def interrupted(_: Output) -> None:
        if failing == "caller":
            raise KeyboardInterrupt

    source = Belt(3 if failing == "source" else 1000, SourceError("unplugged"))
    network, sink = OneBolt(fail_at=2 if failing == "network" else None), Keep(fail_at=3 if failing == "sink" else None)
    with pytest.raises((SourceError, BackendError, SinkError, KeyboardInterrupt)):
        run(source, network, [sink], loop=run_overlapped, on_output=interrupted)
    assert our_threads() == []


def test_a_source_that_never_answers_does_not_hold_the_end_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("edgewright.runtime.overlapped._LEAVE_S", 0.05)
    stop, answer = threading.Event(), threading.Event()

    class Mute(Belt):
        def __iter__(self) -> Iterator[Frame]:
            yield from super().__iter__()
            answer.wait(PATIENCE_S)

    with caplog.at_level(logging.WARNING):
        statistics = run(Mute(2), OneBolt(), loop=run_overlapped, stop=stop, on_output=lambda output: stop.set())
    assert statistics.frames >= 1
    assert "belt does not answer" in caplog.text
    answer.set()


def test_engines_that_overwrite_their_outputs_are_copied_from() -> None:
    class Reusing(OneBolt):
        buffer = np.zeros(1)

        def infer(self, feeds: Any) -> dict[str, npt.NDArray[Any]]:
            self.buffer[0] += 1
            return {"number": self.buffer}

        def finish(self, outputs: Mapping[str, Any], placement: Any) -> Detections:
            time.sleep(0.005)
            return super().finish({"number": outputs["number"][0]}, placement)

    sink = Keep()
    run(Belt(5), Reusing(), [sink], loop=run_overlapped)
    results = [output.result for output in sink.outputs]
    assert [r.boxes_xyxy[0, 0] for r in results if isinstance(r, Detections)] == [1, 2, 3, 4, 5]


class Album(Source):
    """Twelve pictures with a blue thing in different places and sizes of picture."""

    name, length = "album", 12

    def __iter__(self) -> Iterator[Frame]:
        for index in range(12):
            image = np.roll(blob_image(), (3 * index, 5 * index), (0, 1))
            image = image[: image.shape[0] - (index % 3) * 8]
            yield Frame(np.ascontiguousarray(image), index, time.monotonic(), self.name)


@pytest.fixture(scope="module", name="bundle")
def bundle_fixture(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("overlapped"))


@pytest.mark.parametrize("backend", ["ort", "ov"])
def test_both_loops_find_the_same(bundle: Bundle, backend: str) -> None:
    if backend == "ov":
        pytest.importorskip("openvino")
    found = []
    with open_predictor(bundle, backend=backend, threads=1) as predictor:
        for loop in (run_loop, run_overlapped):
            sink, statistics = Keep(), RunStatistics()
            loop(Album(), predictor, [sink], LABELS, statistics=statistics)
            found.append([output.result for output in sink.outputs])
    assert len(found[0]) == len(found[1]) == 12
    for one, other in zip(*found, strict=True):
        assert isinstance(one, Detections)
        assert isinstance(other, Detections)
        assert len(one) > 0
        assert np.array_equal(one.boxes_xyxy, other.boxes_xyxy)
        assert np.array_equal(one.scores, other.scores)


@pytest.mark.parametrize("backend", ["ort", "ov"])
def test_several_streams_find_what_one_finds_in_the_same_order(bundle: Bundle, backend: str) -> None:
    if backend == "ov":
        pytest.importorskip("openvino")
    found = []
    # Two threads in either case would sum in another order.
    for streams, threads in ((1, 1), (2, 2)):
        sink = Keep()
        with open_predictor(bundle, backend=backend, threads=threads, streams=streams) as predictor:
            # OpenVINO makes no more of them than there are processor cores.
            assert predictor.streams == streams or backend == "ov"
            run_overlapped(Album(), predictor, [sink], LABELS, statistics=RunStatistics())
        assert [output.frame.index for output in sink.outputs] == list(range(12))
        found.append([output.result for output in sink.outputs])
    for one, other in zip(*found, strict=True):
        assert isinstance(one, Detections)
        assert isinstance(other, Detections)
        assert np.array_equal(one.boxes_xyxy, other.boxes_xyxy)
        assert np.array_equal(one.scores, other.scores)


def test_two_streams_work_at_the_same_time_and_their_seconds_count_apart() -> None:
    """Each of the first two inferences waits until the other has begun."""
    both = threading.Barrier(2, timeout=PATIENCE_S)

    class SideBySide:
        streams = 2

        def __init__(self) -> None:
            self.callers = ThreadPoolExecutor(2)

        def requests(self, count: int) -> list["Waiting"]:
            return [Waiting(self.callers) for _ in range(count)]

    class Waiting:
        def __init__(self, callers: ThreadPoolExecutor) -> None:
            self.callers = callers

        def start(self, feeds: Any, /) -> None:
            self.answer = self.callers.submit(self.work, time.perf_counter())

        def work(self, start_s: float) -> tuple[dict[str, Any], float, float]:
            both.wait()
            time.sleep(0.02)
            return {"number": 0}, start_s, time.perf_counter()

        def wait(self) -> tuple[dict[str, Any], float, float]:
            return self.answer.result()

    class Network(OneBolt):
        streams = 2

        def __init__(self) -> None:
            super().__init__()
            self.backend = SideBySide()

        def lanes(self, count: int) -> Any:
            return engine_lanes(self.backend, [self.prepare_all] * count)  # type: ignore[arg-type]

        def prepare_all(self, images: Any, regions: Any) -> tuple[Any, list[Any]]:
            feeds, placement = self.prepare(images[0], regions[0])
            return feeds, [placement]

    network, sink = Network(), Keep()
    assert run(Belt(6), network, [sink], loop=run_overlapped).frames == 6
    network.backend.callers.shutdown()
    assert all(output.latency_s["infer"] >= 0.02 for output in sink.outputs)
