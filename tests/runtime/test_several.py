"""Several sources as one."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.runtime.test_loop import Belt, Keep, OneBolt, run
from tests.tiny import blob_image

from edgewright.runtime.errors import SourceError, UsageError
from edgewright.runtime.overlapped import run_overlapped
from edgewright.runtime.results import Frame
from edgewright.runtime.several import SeveralSources, open_sources
from edgewright.runtime.sources import Source

PATIENCE_S = 10.0


class Camera(Source):
    """A live source that gives a frame as soon as the last one was taken, or none at all while it is `silent`."""

    live = True

    def __init__(self, name: str, *, silent: bool = False, failure: Exception | None = None) -> None:
        self.name = name
        self.over = threading.Event()
        self._silent = silent
        self._failure = failure

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while not self.over.is_set():
            if self._failure is not None and index == 3:
                raise self._failure
            if self._silent:
                self.over.wait(0.01)
                continue
            yield Frame(np.full((48, 64, 3), 50, np.uint8), index, time.monotonic(), self.name)
            index += 1
            time.sleep(0.0005)

    def interrupt(self) -> None:
        self.over.set()


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("edgewright source")]


def test_files_are_run_to_their_ends_each_in_its_order() -> None:
    with SeveralSources({"short": Belt(3), "long": Belt(7)}) as source:
        frames = list(source)
        assert (source.length, source.live, source.dropped) == (10, False, 0)
    for name, count in (("short", 3), ("long", 7)):
        assert [frame.index for frame in frames if frame.origin == name] == list(range(count))
    assert readers() == []


def test_cameras_take_turns_however_fast_they_are() -> None:
    """Each is ready again before the others were asked once."""
    with SeveralSources({name: Camera(name) for name in "abc"}) as source:
        frames = iter(source)
        seen: list[str] = []
        while Counter(seen)["c"] < 20:
            seen.append(next(frames).origin)
            # As long as a network takes: by then all have a new frame.
            time.sleep(0.02)
        assert source.dropped > 0
    counted = Counter(seen)
    assert max(counted.values()) - min(counted.values()) <= 2


def test_a_silent_camera_makes_nobody_wait() -> None:
    several = SeveralSources({"dead": Camera("dead", silent=True), "alive": Camera("alive")})
    with several as source:
        assert [frame.origin for frame in islice(source, 20)] == ["alive"] * 20
        assert [part.state for part in several.parts] == ["starting", "running"]


def test_the_newest_frame_of_a_camera_is_given_when_somebody_asks() -> None:
    camera = Camera("door")
    with SeveralSources({"door": camera}) as source:
        frames = iter(source)
        first = next(frames)
        deadline = time.monotonic() + PATIENCE_S
        while source.dropped < 5 and time.monotonic() < deadline:
            time.sleep(0.005)
        assert next(frames).index - first.index > 5


def test_a_source_that_fails_does_so_alone_and_its_error_comes_last(caplog: pytest.LogCaptureFixture) -> None:
    source = SeveralSources({"bad": Belt(2, SourceError("unplugged")), "good": Belt(6)})
    seen = []
    with source, caplog.at_level(logging.WARNING), pytest.raises(SourceError, match="unplugged"):
        for frame in source:
            seen.append(frame.origin)  # noqa: PERF401 - what came before the error is wanted
    assert Counter(seen) == {"bad": 2, "good": 6}
    assert source.events == {"sources_failed": 1}
    assert "source bad failed, the others go on: unplugged" in caplog.text


def test_an_interrupted_run_of_several_ends_though_a_source_is_silent() -> None:
    source = SeveralSources({"dead": Camera("dead", silent=True)})
    timer = threading.Timer(0.05, source.interrupt)
    with source:
        timer.start()
        assert list(source) == []
    assert readers() == []


def test_the_overlapped_loop_asks_only_when_the_network_is_free() -> None:
    """So that frames wait in the slots of their sources, where newer ones replace them, and in no queue."""

    class Watched(OneBolt):
        def infer(self, feeds: dict[str, object]) -> dict[str, object]:
            time.sleep(0.01)
            return super().infer(feeds)

    sink = Keep()
    with SeveralSources({name: Camera(name) for name in "ab"}) as source:
        statistics = run(source, Watched(), [sink], loop=run_overlapped, max_frames=30)
        assert statistics.dropped == 0 < source.dropped
    tallies = {name: tally.frames for name, tally in statistics.by_source.items()}
    assert sum(tallies.values()) == 30
    assert max(tallies.values()) - min(tallies.values()) <= 2
    assert all(output.latency_s["frame_wait"] < output.age_s for output in sink.outputs)
    assert all(tally.age is not None and tally.age.count == tally.frames for tally in statistics.by_source.values())


def test_a_name_stands_before_the_source_and_tells_files_apart(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "7.png"), blob_image())
    with open_sources([f"left={tmp_path}/a", f"{tmp_path}/b"]) as source:
        frames = sorted(source, key=lambda frame: frame.origin, reverse=True)
    assert [(frame.origin, frame.source) for frame in frames] == [
        ("left", "left/7.png"),
        (f"{tmp_path}/b", f"{tmp_path}/b/7.png"),
    ]
    assert [frame.names for frame in frames] == [("7.png", "0")] * 2


def test_a_file_with_an_equals_sign_needs_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("a=1.png", blob_image())
    with open_sources(["a=1.png"]) as source:
        assert not isinstance(source, SeveralSources)
        assert [frame.source for frame in source] == ["a=1.png"]


@pytest.mark.parametrize("uris", [["a/x.png", "b/x.png"], ["x=a/x.png", "x=b/x.png"], ["a/x.png", "a/x.png"]])
def test_sources_of_one_name_are_refused(uris: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        Path(folder).mkdir()
        cv2.imwrite(f"{folder}/x.png", blob_image())
    with pytest.raises(UsageError, match=r"two sources are called '.*x.*'.*; give each a name of its own"):
        open_sources(uris)
