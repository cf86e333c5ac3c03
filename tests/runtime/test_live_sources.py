"""Network, CSI, V4L2 and GStreamer cameras, paced files, and the options that every source has."""

import http.server
import importlib.util
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.runtime.errors import SourceError, UsageError
from edgewright.runtime.results import Frame
from edgewright.runtime.sources import csi, gstreamer, open_source
from edgewright.runtime.sources.rtsp import StreamSource
from edgewright.runtime.supervision import Patience, SupervisedSource
from edgewright.runtime.uri import masked, take_options

# Rows 0 and 1, columns 0 to 2.
NUMBERED = np.array([[[10] * 3, [20] * 3, [30] * 3], [[40] * 3, [50] * 3, [60] * 3]], np.uint8)


class Capture:
    """Stands for cv2.VideoCapture; `opened` keeps what it was asked to open, and with which options of FFmpeg."""

    opened: ClassVar[list[tuple[Any, ...]]] = []
    frames = 2
    is_open = True

    def __init__(self, *arguments: Any) -> None:
        self.opened.append((*arguments, os.environ.get("OPENCV_FFMPEG_CAPTURE_OPTIONS")))
        self.left = self.frames
        self.settings: dict[int, float] = {}

    def isOpened(self) -> bool:
        return self.is_open

    def get(self, what: int) -> float:
        return self.settings.get(what, 30.0)

    def set(self, what: int, value: float) -> bool:
        self.settings[what] = value
        return True

    def read(self) -> tuple[bool, Any]:
        self.left -= 1
        return (True, NUMBERED) if self.left >= 0 else (False, None)

    def release(self) -> None:
        pass


@pytest.fixture(name="capture")
def capture_fixture(monkeypatch: pytest.MonkeyPatch) -> type[Capture]:
    class Fresh(Capture):
        opened: ClassVar[list[tuple[Any, ...]]] = []

    monkeypatch.setattr(cv2, "VideoCapture", Fresh)
    monkeypatch.delenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", raising=False)
    return Fresh


@pytest.fixture(name="picture")
def picture_fixture(tmp_path: Path) -> Path:
    path = tmp_path / "numbered.png"
    cv2.imwrite(str(path), NUMBERED)
    return path


# --- what every source can do


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("rotate=90", [[40, 10], [50, 20], [60, 30]]),
        ("rotate=180", [[60, 50, 40], [30, 20, 10]]),
        ("rotate=270", [[30, 60], [20, 50], [10, 40]]),
        ("rotate=0", [[10, 20, 30], [40, 50, 60]]),
        ("crop=1,0,3,1", [[20, 30]]),
        ("crop=0,1,2,3&rotate=90", [[50, 20], [60, 30]]),
    ],
)
def test_pictures_are_turned_clockwise_and_then_cut(picture: Path, options: str, expected: list[list[int]]) -> None:
    with open_source(f"images:{picture}?{options}") as source:
        (frame,) = source
    assert frame.image[:, :, 0].tolist() == expected
    assert frame.image.flags["C_CONTIGUOUS"]


def test_pictures_are_resized_to_height_and_width(picture: Path) -> None:
    with open_source(f"images:{picture}?resize=32x48") as source:
        assert [frame.size_hw for frame in source] == [(32, 48)]


def test_a_cut_beside_the_picture_is_one_clear_error(picture: Path) -> None:
    with pytest.raises(SourceError, match="leaves nothing of a picture of 2x3"):
        list(open_source(f"images:{picture}?crop=5,5,9,9"))


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("rotate=45", "0, 90, 180 or 270"),
        ("crop=1,2,3", "X1,Y1,X2,Y2"),
        ("crop=3,0,1,2", "X1 < X2"),
        ("resize=big", "HEIGHTxWIDTH"),
    ],
)
def test_a_wrong_view_says_what_is_wanted(picture: Path, options: str, wanted: str) -> None:
    with pytest.raises(UsageError, match=wanted):
        open_source(f"images:{picture}?{options}")


def test_labels_are_not_left_behind_by_a_view() -> None:
    with pytest.raises(UsageError, match="labelled"):
        open_source("synthetic:1?rotate=90")


def test_a_paced_file_is_live_and_comes_when_it_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 0.5, (64, 48))
    for _ in range(3):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    slept: list[float] = []
    monkeypatch.setattr("edgewright.runtime.sources.video.time.sleep", slept.append)
    with open_source(f"video:{path}?speed=0.1") as source:
        assert source.live
        assert source.fps == pytest.approx(0.05)
        assert len(list(source)) == 3
    # Frames of 0, 2 and 4 s at a tenth of the speed; nothing really slept.
    assert slept == pytest.approx([0, 20, 40], abs=5)


# --- addresses


def test_options_of_the_program_are_taken_out_and_those_of_the_camera_stay() -> None:
    text = "//host/live?channel=1&transport=udp&subtype=0"
    assert take_options(text, ("transport",)) == ("//host/live?channel=1&subtype=0", {"transport": "udp"})
    assert take_options("//host/live?channel=1", ("transport",)) == ("//host/live?channel=1", {})
    assert take_options("a ! b location=http://h/?rotate=1 ! c", ("rotate",))[1] == {}


_WORDS = st.text(st.sampled_from("abcXYZ019:@!$%*.-_"), min_size=4)


@given(user=_WORDS, password=_WORDS.map(lambda text: f"secret{text}"))
def test_a_masked_address_shows_neither_user_nor_password(user: str, password: str) -> None:
    shown = masked(f"cannot open rtsp://{user}:{password}@camera.lan:554/live")
    assert shown == "cannot open rtsp://***@camera.lan:554/live"
    assert "secret" not in masked(f"rtsp://camera/user={user.replace('_', '')}&password={password.replace('_', '')}")
    assert "secret" not in masked(f"rtsp://camera/live?login=x&token={password}")


def test_what_holds_no_secret_is_shown_as_it_is() -> None:
    for uri in ("camera:0", "/data/film?.mp4", "rtsp://camera.lan/live", "synthetic:1:2?size=48x64"):
        assert masked(uri) == uri


# --- network cameras


def test_a_network_camera_is_opened_for_low_latency_and_its_password_is_not_shown(
    capture: type[Capture], caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(SourceError, match="after 2 frames") as caught,
        open_source("rtsp://admin:hush@10.0.0.9/live?channel=1&transport=udp&timeout=3") as source,
    ):
        assert (source.live, source.reopens) == (True, True)
        for frame in source:
            assert frame.source == "rtsp://***@10.0.0.9/live?***"
    ((url, api, timeouts, ffmpeg),) = capture.opened
    assert (url, api) == ("rtsp://admin:hush@10.0.0.9/live?channel=1", cv2.CAP_FFMPEG)
    assert timeouts == [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 3000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 3000]
    assert set(ffmpeg.split("|")) == {"fflags;nobuffer", "flags;low_delay", "rtsp_transport;udp"}
    assert "hush" not in str(caught.value) + caplog.text
    assert "OPENCV_FFMPEG_CAPTURE_OPTIONS" not in os.environ


def test_options_of_ffmpeg_that_somebody_set_are_left_alone(
    capture: type[Capture], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_flags;listen")
    open_source("rtsp://host/live").close()
    assert capture.opened[0][-1] == os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] == "rtsp_flags;listen"


def test_a_camera_that_is_not_there_is_one_clear_error_without_its_password(capture: type[Capture]) -> None:
    capture.is_open = False
    with pytest.raises(SourceError, match=r"rtsp://\*\*\*@host/live cannot be opened within 10 s") as caught:
        open_source("rtsp://admin:hush@host/live")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "uri", ["rtsp:host/live", "rtsp:http://u:hush@host/live", "rtsp://u:hush@host/a?transport=pigeon"]
)
def test_a_wrong_address_says_what_is_wanted_without_its_password(uri: str) -> None:
    with pytest.raises(UsageError, match=r"an address such as|must be one of: tcp, udp") as caught:
        open_source(uri)
    assert "hush" not in str(caught.value)


def test_an_address_in_capital_letters_does_not_show_its_password() -> None:
    with pytest.raises(SourceError) as caught:
        open_source("RTSP://admin:hush@host/live")
    assert "hush" not in str(caught.value)


class MotionJpeg(http.server.BaseHTTPRequestHandler):
    """Gives a stream of five pictures, as network cameras do, and hangs up."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
        self.end_headers()
        for level in range(5):
            data = cv2.imencode(".jpg", np.full((48, 64, 3), 40 * level, np.uint8))[1].tobytes()
            head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            self.wfile.write(head.encode() + data + b"\r\n")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(name="server")
def server_fixture() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), MotionJpeg) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_a_stream_from_a_real_server_is_read_to_its_end(server: str) -> None:
    frames: list[Frame] = []
    with pytest.raises(SourceError, match="ended"), StreamSource(server, timeout_s=5) as source:
        frames.extend(source)
    assert [frame.size_hw for frame in frames] == [(48, 64)] * len(frames)
    assert len(frames) >= 4


def test_a_real_server_that_hangs_up_twenty_times_is_read_on_and_nothing_leaks(server: str) -> None:
    def connect() -> StreamSource:
        return StreamSource(server, timeout_s=5)

    def held() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    indices = []
    with SupervisedSource(connect(), connect, patience=Patience(first_delay_s=0.001, longest_delay_s=0.001)) as source:
        for frame in source:
            indices.append(frame.index)
            if source.events["restarts"] == 3:
                before = held()
            if source.events["restarts"] == 20:
                break
        after = held()
    assert indices == sorted(set(indices))
    # The server's side of a connection may still be closing.
    assert after[0] <= before[0] + 3
    assert after[1] <= before[1] + 3


# --- cameras of the board


def test_a_camera_is_asked_for_its_mode_and_what_it_gives_instead_is_logged(
    capture: type[Capture], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[int, float] = {}

    def refuse_rate(self: Capture, what: int, value: float) -> bool:
        asked[what] = value
        if what != cv2.CAP_PROP_FPS:
            self.settings[what] = value
        return True

    monkeypatch.setattr(capture, "set", refuse_rate)
    with caplog.at_level(logging.WARNING), open_source("v4l2:/dev/null?format=mjpg&size=720x1280&fps=60") as source:
        assert source.fps == 30
    assert asked == {
        cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"MJPG"),
        cv2.CAP_PROP_FRAME_HEIGHT: 720,
        cv2.CAP_PROP_FRAME_WIDTH: 1280,
        cv2.CAP_PROP_FPS: 60,
    }
    assert [record.message for record in caplog.records] == [
        "camera:/dev/null: fps 60.0 was asked for, the camera gives 30.0"
    ]


@pytest.mark.parametrize(
    ("uri", "wanted"), [("camera:0?format=jpeg2", "four letters"), ("camera:0?size=9", "HEIGHTxWIDTH")]
)
def test_a_wrong_mode_says_what_is_wanted(uri: str, wanted: str) -> None:
    with pytest.raises(UsageError, match=wanted):
        open_source(uri)


def test_a_csi_camera_is_a_pipeline_of_the_jetson() -> None:
    # The elements and properties of NVIDIA's "Accelerated GStreamer" guide, Jetson Linux 36.
    assert csi.pipeline(1, {"size": "1080x1920", "fps": "30", "flip": "2"}) == (
        "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=1920,height=1080,framerate=30000/1000,format=NV12 "
        "! nvvidconv flip-method=2 ! video/x-raw,format=BGRx"
    )


def test_without_gstreamer_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gstreamer, "opencv_has_gstreamer", lambda: False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for uri in ("csi:0", "gstreamer:videotestsrc ! videoconvert"):
        with pytest.raises(SourceError, match="PyGObject is not installed; use the OpenCV of the system"):
            open_source(uri)


def test_with_gstreamer_in_opencv_a_pipeline_ends_in_the_newest_picture(
    capture: type[Capture], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gstreamer, "opencv_has_gstreamer", lambda: True)
    uri = "gstreamer:rtspsrc location=rtsp://u:hush@host/a ! decodebin"
    with pytest.raises(SourceError, match="ended after 2 frames") as caught, open_source(uri) as source:
        assert sum(1 for _ in source) == 2
    assert "hush" not in str(caught.value)
    ((pipeline, api, _),) = capture.opened
    assert api == cv2.CAP_GSTREAMER
    assert pipeline.startswith("rtspsrc location=rtsp://u:hush@host/a ! decodebin ! videoconvert ! ")
    assert pipeline.endswith("appsink name=edgewright drop=true max-buffers=1 sync=false")


def test_a_pipeline_with_its_own_appsink_is_left_as_it_is(
    capture: type[Capture], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gstreamer, "opencv_has_gstreamer", lambda: True)
    open_source("gstreamer:videotestsrc ! videoconvert ! video/x-raw,format=BGR ! appsink").close()
    assert capture.opened[0][0] == "videotestsrc ! videoconvert ! video/x-raw,format=BGR ! appsink"
