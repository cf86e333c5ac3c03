"""Several frames through the network at once: which, in which order, and that they find what they find alone."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.test_loop import LABELS, Belt, Keep
from tests.runtime.test_several import Camera
from tests.tiny import blob_image, tiny_bundle

from edgewright.export.open_batch import open_batch
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import SourceError, UsageError
from edgewright.runtime.loop import RunStatistics
from edgewright.runtime.overlapped import run_overlapped
from edgewright.runtime.predictor import open_predictor
from edgewright.runtime.results import Detections, Frame, Result
from edgewright.runtime.several import SeveralSources, open_sources
from edgewright.runtime.sources import Source

PATIENCE_S = 10.0


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("batches"))


@pytest.fixture(scope="module")
def opened(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_batch(bundle, tmp_path_factory.mktemp("opened") / "bundle")


def picture(number: int) -> Any:
    """A blob in another place, in a picture of another size."""
    return blob_image((96 + 8 * (number % 3), 128), (8 * (number % 7), 16, 8 * (number % 7) + 40, 60))


def assert_same(found: Result, wanted: Result, atol: float = 1e-4) -> None:
    assert isinstance(found, Detections)
    assert isinstance(wanted, Detections)
    assert len(wanted) > 0
    np.testing.assert_allclose(found.boxes_xyxy, wanted.boxes_xyxy, atol=atol)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=atol)
    np.testing.assert_array_equal(found.class_ids, wanted.class_ids)


@pytest.mark.parametrize("backend", ["ort", "ov"])
def test_an_image_in_a_batch_finds_what_it_finds_alone(bundle: Bundle, opened: Bundle, backend: str) -> None:
    pictures = [picture(number) for number in range(7)]
    with open_predictor(bundle, backend=backend, threads=1) as alone:
        wanted = [alone(one) for one in pictures]
    with open_predictor(opened, backend=backend, threads=1, batch=3) as predictor:
        assert predictor.settings["batch"] == 3
        # 7 leave two rows of the last batch to what was there before, and 0 leave nothing to do.
        for found, reference in zip(predictor.several(pictures), wanted, strict=True):
            assert_same(found, reference)
        assert_same(predictor(pictures[5]), wanted[5])
        assert predictor.several([]) == []
    with open_predictor(opened, backend=backend, threads=1) as single:
        assert "batch" not in single.settings
        assert_same(single(pictures[2]), wanted[2])


def test_a_batch_that_the_network_does_not_allow_is_one_sentence(bundle: Bundle, opened: Bundle) -> None:
    with pytest.raises(UsageError, match="takes one image at a time, not a batch of 2; `edgewright batch"):
        open_predictor(bundle, batch=2)
    with pytest.raises(UsageError, match=r"tiles of a picture go through .* one by one; leave --batch out"):
        open_predictor(opened, batch=2, tiles="64x64")


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(0, 7), min_size=1, max_size=4), size=st.integers(1, 5))
def test_files_fill_every_batch_but_the_last_each_in_its_order(lengths: list[int], size: int) -> None:
    sources: dict[str, Source] = {str(number): Belt(length) for number, length in enumerate(lengths)}
    with SeveralSources(sources) as source:
        batches = list(source.batches(size))
    assert [len(batch) for batch in batches[:-1]] == [size] * len(batches[:-1])
    assert len(batches) == -(-sum(lengths) // size)
    for number, length in enumerate(lengths):
        given = [frame.index for batch in batches for frame in batch if frame.origin == str(number)]
        assert given == list(range(length))


def test_a_batch_has_one_frame_of_each_camera() -> None:
    with SeveralSources({name: Camera(name) for name in "abc"}, batch_wait_s=PATIENCE_S) as source:
        batches = source.batches(3)
        seen: list[list[str]] = []
        while len(seen) < 10:
            batch = next(batches)
            if not seen and len(batch) < 3:
                # The first may come before the others are known to run.
                continue
            seen.append(sorted(frame.origin for frame in batch))
            time.sleep(0.005)
        assert seen == [["a", "b", "c"]] * 10
        assert source.dropped > 0


def test_a_batch_smaller_than_the_cameras_takes_them_in_turn() -> None:
    with SeveralSources({name: Camera(name) for name in "abcde"}, batch_wait_s=PATIENCE_S) as source:
        counted: Counter[str] = Counter()
        for batch in source.batches(2):
            assert len({frame.origin for frame in batch}) == len(batch)
            counted.update(frame.origin for frame in batch)
            if counted["e"] >= 12:
                break
            # As long as a network takes: by then all have a new frame.
            time.sleep(0.02)
    assert max(counted.values()) - min(counted.values()) <= 2


def test_a_camera_that_never_gave_a_frame_is_not_waited_for() -> None:
    sources = {"dead": Camera("dead", silent=True), "a": Camera("a"), "b": Camera("b")}
    with SeveralSources(sources, batch_wait_s=1000.0) as source:
        batches = source.batches(3)
        for _ in range(10):
            assert 1 <= len(next(batches)) <= 2


class Pausing(Camera):
    """A camera that falls silent after its first frame, until it is let go."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.go = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        for frame in super().__iter__():
            yield frame
            while not self.go.is_set() and not self.over.is_set():
                time.sleep(0.005)


def test_a_camera_that_fell_silent_holds_the_others_up_for_the_limit_alone() -> None:
    pausing = Pausing("slow")
    with SeveralSources({"slow": pausing, "fast": Camera("fast")}, batch_wait_s=0.05) as source:
        batches = source.batches(2)
        seen = [next(batches) for _ in range(6)]
        assert sum(frame.origin == "slow" for batch in seen for frame in batch) == 1
        assert [frame.origin for frame in seen[-1]] == ["fast"]
        pausing.go.set()
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and len(batch := next(batches)) < 2:
            pass
        assert sorted(frame.origin for frame in batch) == ["fast", "slow"]


def test_a_frame_that_waits_for_its_batch_is_replaced_by_newer_ones() -> None:
    pausing, fast = Pausing("slow"), Camera("fast")
    with SeveralSources({"slow": pausing, "fast": fast}, batch_wait_s=PATIENCE_S) as source:
        batches = source.batches(2)
        while "slow" not in {frame.origin for frame in next(batches)}:
            pass
        before = source.dropped

        def let_go() -> None:
            wait_for(lambda: source.dropped > before + 20)
            pausing.go.set()

        threading.Thread(target=let_go).start()
        (frame,) = (frame for frame in next(batches) if frame.origin == "fast")
    assert frame.index > before + 20


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.005)


def test_a_camera_that_fails_leaves_its_place_to_the_others() -> None:
    sources = {"bad": Belt(3, SourceError("unplugged")), "good": Belt(9)}
    seen: list[list[str]] = []
    with SeveralSources(sources) as source, pytest.raises(SourceError, match="unplugged"):
        seen.extend([frame.origin for frame in batch] for batch in source.batches(4))
    assert Counter(name for batch in seen for name in batch) == {"bad": 3, "good": 9}
    assert [len(batch) for batch in seen] == [4, 4, 4]


def test_a_batch_that_cameras_never_fill_is_refused_at_the_start(tmp_path: Path) -> None:
    def open_one(uri: str, *, newest: bool) -> Source:
        return Camera(uri)

    uris = ["a=1", "b=2"]
    with pytest.raises(UsageError, match="there are not 3 but 2; say --batch 2, or --frames all"):
        open_sources(uris, open_one=open_one, batch=3)
    for batch, newest in ((2, None), (3, False)):
        open_sources(uris, open_one=open_one, batch=batch, newest=newest).close()
    with pytest.raises(UsageError, match="there are not 2 but 1"):
        open_sources(["1"], open_one=open_one, batch=2)


class Album(Belt):
    """Pictures that differ from one another and from those of other albums."""

    def __init__(self, first: int, count: int) -> None:
        super().__init__(count)
        self._first = first

    def __iter__(self) -> Iterator[Frame]:
        for frame in super().__iter__():
            yield Frame(picture(self._first + frame.index), frame.index, time.monotonic(), self.name)


@pytest.mark.parametrize(("backend", "streams"), [("ort", 1), ("ov", 1), ("ov", 2)])
def test_a_run_in_batches_gives_what_a_run_without_gives(
    bundle: Bundle, opened: Bundle, backend: str, streams: int
) -> None:
    results: list[dict[tuple[str, int], Result]] = []
    for which, batch in ((bundle, 1), (opened, 4)):
        sink, statistics = Keep(), RunStatistics()
        with (
            SeveralSources({"left": Album(0, 9), "right": Album(3, 6)}) as source,
            open_predictor(which, backend=backend, threads=2, batch=batch, streams=streams) as predictor,
        ):
            run_overlapped(source, predictor, [sink], LABELS, statistics=statistics)
        for name, count in (("left", 9), ("right", 6)):
            given = [output.frame.index for output in sink.outputs if output.frame.origin == name]
            assert given == list(range(count))
        assert (statistics.frames, statistics.inferences) == (15, -(-15 // batch))
        for output in sink.outputs:
            assert {"prepare", "infer", "output_wait", "finish"} <= set(output.latency_s)
            # What happened behind the capture is within the age of the frame, which waited for its batch before.
            assert sum(output.latency_s.values()) - output.latency_s["capture"] <= output.age_s + 1e-3
        results.append({(output.frame.origin, output.frame.index): output.result for output in sink.outputs})
    assert results[0].keys() == results[1].keys()
    for key, wanted in results[0].items():
        assert_same(results[1][key], wanted)


def test_the_last_batch_is_cut_to_the_frames_that_were_asked_for(opened: Bundle) -> None:
    sink, statistics = Keep(), RunStatistics()
    with SeveralSources({"only": Album(0, 20)}) as source, open_predictor(opened, batch=4, threads=1) as predictor:
        run_overlapped(source, predictor, [sink], LABELS, statistics=statistics, max_frames=6)
    assert [output.frame.index for output in sink.outputs] == list(range(6))
    assert statistics.inferences == 2
