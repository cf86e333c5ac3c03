"""Real pipelines of GStreamer, read by PyGObject: their pictures, their ends and their failures."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.tiny import tiny_bundle

from edgewright.pipeline.cli import main
from edgewright.runtime.errors import SourceError
from edgewright.runtime.sources import _appsink, open_source

pytestmark = pytest.mark.usefixtures("gi")

# The bars of SMPTE ECR 1-1978 in BGR, as videotestsrc makes them: white, yellow, cyan, green, magenta, red, blue.
BARS = [(255, 255, 255), (0, 255, 255), (255, 255, 0), (0, 255, 0), (255, 0, 255), (0, 0, 255), (255, 0, 0)]


def film(path: Path, frames: int = 12) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    for index in range(frames):
        writer.write(np.full((48, 64, 3), 20 * index, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize("width", [640, 642, 641])
def test_the_pictures_are_those_of_the_pipeline(width: int) -> None:
    """Rows of 642 and of 641 pixels are padded."""
    pipeline = f"videotestsrc num-buffers=10 ! video/x-raw,format=BGR,width={width},height=480,framerate=30/1"
    with open_source(f"gstreamer:{pipeline}") as source:
        frames = list(source)
    assert not source.live
    assert not source.reopens
    assert source.fps == 30
    assert [frame.index for frame in frames] == list(range(10))
    for frame in frames:
        assert frame.image.shape == (480, width, 3)
        assert frame.image.flags.owndata or frame.image.flags.writeable
        middles = frame.image[[5, 200], :][:, [int((bar + 0.5) * width / 7) for bar in range(7)]]
        assert np.abs(middles.astype(int) - np.array(BARS)).max() <= 2


def test_a_film_is_read_whole_in_order_and_at_the_pace_of_its_reader(tmp_path: Path) -> None:
    path = film(tmp_path / "a.avi")
    levels = []
    with open_source(f"gstreamer:filesrc location={path} ! decodebin") as source:
        assert source.fps == 10
        for frame in source:
            time.sleep(0.02)
            levels.append(round(float(frame.image.mean()) / 20))
    assert levels == list(range(12))


def test_a_live_pipeline_keeps_the_newest_picture_and_its_end_is_a_failure() -> None:
    pipeline = "videotestsrc is-live=true num-buffers=30 ! video/x-raw,width=64,height=48,framerate=30/1"
    times = []
    with open_source(f"gstreamer:{pipeline}") as source, pytest.raises(SourceError, match=r"ended after \d+ frames"):
        assert source.live
        assert source.reopens
        assert source.fps == 30
        for frame in source:
            times.append(frame.time_s)
            assert 0 <= time.monotonic() - frame.time_s < 60
            time.sleep(0.2)
    assert times == sorted(set(times))
    # A second of pictures, of which one each 0.2 s is taken.
    assert 1 <= len(times) < 15


def test_the_picture_may_change_its_size() -> None:
    parts = " ".join(
        f"videotestsrc num-buffers=3 ! video/x-raw,width={width},height=48,framerate=30/1 ! parts."
        for width in (64, 33, 64)
    )
    with open_source(f"gstreamer:{parts} concat name=parts") as source:
        assert [frame.image.shape[1] for frame in source] == [64, 64, 64, 33, 33, 33, 64, 64, 64]


@pytest.mark.parametrize(
    ("pipeline", "reason"),
    [
        ("v4l2src device=/dev/video99 ! videoconvert", "failed: Cannot identify device '/dev/video99'"),
        ("filesrc location=/no/such/film.mp4 ! decodebin", "failed: Resource not found"),
        ("filesrc location=/etc/passwd ! decodebin", "failed: This appears to be a text file"),
        ("rtspsrc location=rtsp://me:s3cr3t@127.0.0.1:9/a ! decodebin", "failed: Could not open resource"),
        ("nosuchelement ! videoconvert", 'is no pipeline: .*no element "nosuchelement"'),
        ("videotestsrc ! jpegenc", "is no pipeline: .*could not link jpegenc"),
        ("videotestsrc ! fakesink", "is no pipeline: .*could not link fakesink"),
        ("videotestsrc !", "is no pipeline: .*syntax error"),
    ],
)
def test_what_is_wrong_at_the_start_is_an_error_at_once(pipeline: str, reason: str) -> None:
    with pytest.raises(SourceError, match=reason) as failed:
        open_source(f"gstreamer:{pipeline}")
    assert "s3cr3t" not in str(failed.value)


def test_a_pipeline_that_fails_on_its_way_says_so_and_is_not_taken_for_ended() -> None:
    pipeline = "videotestsrc num-buffers=9 ! video/x-raw,width=64,height=48 ! identity error-after=5"
    taken = 0
    with (
        open_source(f"gstreamer:{pipeline}") as source,
        pytest.raises(SourceError, match="failed: Failed after iterations as requested"),
    ):
        for _ in source:
            taken += 1
    assert taken <= 4


def test_a_stream_that_says_nothing_yet_is_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_appsink, "_START_S", 0.2)
    # Holds its first picture back for as long as it is open.
    with open_source("gstreamer:videotestsrc ! valve drop=true ! videoconvert") as source:
        assert source.live


def test_the_pipelines_own_appsink_is_read_among_other_sinks() -> None:
    pipeline = (
        "videotestsrc num-buffers=4 ! tee name=t t. ! queue ! fakesink async=false t. ! queue ! videoconvert ! "
        "video/x-raw,format=BGR ! appsink sync=false t. ! queue ! fakesink async=false"
    )
    with open_source(f"gstreamer:{pipeline}") as source:
        assert [frame.index for frame in source] == [0, 1, 2, 3]


def test_an_appsink_that_gets_no_bgr_says_what_to_put_before_it() -> None:
    pipeline = "videotestsrc num-buffers=4 ! video/x-raw,format=NV12 ! appsink"
    with (
        open_source(f"gstreamer:{pipeline}") as source,
        pytest.raises(SourceError, match=r"gets NV12, and BGR is wanted; put `videoconvert ! video/x-raw,format=BGR`"),
    ):
        next(iter(source))


def test_nothing_is_left_of_a_closed_pipeline(tmp_path: Path) -> None:
    path = film(tmp_path / "a.avi")
    held = []
    for _ in range(6):
        for pipeline in ("videotestsrc is-live=true ! videoconvert", f"filesrc location={path} ! decodebin"):
            with open_source(f"gstreamer:{pipeline}") as source:
                next(iter(source))
            with pytest.raises(SourceError):
                open_source("gstreamer:filesrc location=/no/such/film.mp4 ! decodebin")
        held.append((len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))))
    deadline = time.monotonic() + 20
    # A thread of a pool may still be ending.
    while len(os.listdir("/proc/self/task")) > held[0][0] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(os.listdir("/proc/self/task")) <= held[0][0]
    assert held[-1][1] <= held[0][1]


def test_a_run_takes_every_frame_of_a_test_source_and_draws_it(tmp_path: Path) -> None:
    tiny_bundle(tmp_path)
    pipeline = "videotestsrc num-buffers=20 ! video/x-raw,width=64,height=48,framerate=30/1"
    words = ["run", str(tmp_path / "bundle"), "--source", f"gstreamer:{pipeline}"]
    sinks = ["--sink", f"jsonl:{tmp_path}/a.jsonl", "--sink", f"images:{tmp_path}/shown"]
    with pytest.raises(SystemExit) as ended:
        main([*words, *sinks])
    assert ended.value.code == 0
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines if "frame" in line] == list(range(20))
    shown = sorted((tmp_path / "shown").iterdir())
    assert len(shown) == 20
    assert shown[3].name.startswith("gstreamer_videotestsrc_num-buffers_20_video")
    assert shown[3].name.endswith("_000003.jpg")


def test_openvino_lives_beside_gstreamer(tmp_path: Path) -> None:
    """Where GStreamer brings libunwind, exceptions of C++ once ended the process; so it is one of its own."""
    pytest.importorskip("openvino")
    bundle = tiny_bundle(tmp_path)
    code = "import sys; from edgewright.pipeline.cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["run", str(bundle.path), "--backend", "ov", "--threads", "1"]
    words += ["--source", "gstreamer:videotestsrc num-buffers=5 ! video/x-raw,width=64,height=48"]
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "gi").symlink_to(Path(str(importlib.import_module("gi").__file__)).parent)
    packages = {**os.environ, "PYTHONPATH": str(tmp_path / "alone")}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=packages, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
