"""Pictures into GStreamer: for the network, and for encoders in hardware, whose place others take here."""

import importlib.util
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest

from edgewright.runtime.errors import SinkError, UsageError
from edgewright.runtime.results import Detections, Frame, Image
from edgewright.runtime.sinks import Output, SinkContext, _appsrc, _encoders, open_sink

CONTEXT = SinkContext((), fps=10.0)


def picture(level: int, size_hw: tuple[int, int] = (48, 62)) -> Image:
    return np.full((*size_hw, 3), level, np.uint8)


def output(index: int, image: Image) -> Output:
    return Output(Frame(image, index, index / 10, "belt"), Detections.empty(), 0.01, {}, picture=image)


# --- any pipeline


def test_frames_come_out_of_a_server_that_others_read(gi: None) -> None:
    """Motion JPEG over HTTP's kind of stream, read and decoded from a socket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pipeline = f"jpegenc quality=95 ! multipartmux ! tcpserversink host=127.0.0.1 port={port}"
    seen: list[bytes] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            time.sleep(0.02)
            # Until the server is there, it refuses.
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as stream:
                while not stop.is_set() and (data := stream.recv(65536)):
                    seen.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with open_sink(f"gstreamer:{pipeline}", CONTEXT) as sink:
            deadline = time.monotonic() + 30
            index = 0
            while b"".join(seen).count(b"\xff\xd9") < 3 and time.monotonic() < deadline:
                sink.write(output(index, picture(200)))
                index += 1
                time.sleep(0.02)
    finally:
        stop.set()
        reader.join()
    jpeg = re.search(rb"\xff\xd8.*?\xff\xd9", b"".join(seen), re.DOTALL)
    assert jpeg is not None
    shown = cv2.imdecode(np.frombuffer(jpeg[0], np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    assert shown.shape == (48, 62, 3)
    assert abs(float(shown.mean()) - 200) < 3


def rtsp_server(port: int, folder: Path) -> "subprocess.Popen[bytes]":
    folder.mkdir(exist_ok=True)
    words = ["/usr/bin/python3", str(Path(__file__).with_name("rtsp_recorder.py")), str(port), str(folder)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    return process


def test_an_rtsp_server_gets_the_stream_also_when_it_was_killed_and_started_again(
    gi: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("rtspclientsink", "x264enc", "avdec_h264"):
        if subprocess.run(["gst-inspect-1.0", "--exists", name]).returncode:
            pytest.skip(f"GStreamer's {name} is not installed")
    monkeypatch.setattr("edgewright.runtime.sinks.gstreamer._AGAIN_S", 0.2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"rtsp://127.0.0.1:{port}/live"
    pipeline = f"x264enc tune=zerolatency key-int-max=5 ! rtspclientsink location={address} protocols=tcp latency=0"
    sink = open_sink(f"gstreamer:{pipeline}", replace(CONTEXT, live=True))
    for folder in (tmp_path / "first", tmp_path / "again"):
        server = rtsp_server(port, folder)
        try:
            deadline, index = time.monotonic() + 40, 0
            while len(list(folder.iterdir())) < 3 and time.monotonic() < deadline:
                with suppress(SinkError):
                    sink.write(output(index, picture(200)))
                index += 1
                time.sleep(0.03)
        finally:
            server.kill()
            server.wait()
        shown = cv2.imread(str(sorted(folder.iterdir())[0]))
        assert shown is not None
        assert shown.shape == (48, 62, 3)
        # H.264 has 16 for black and 235 for white (ITU-R BT.601), and the server stores it so.
        assert abs(float(shown.mean()) - (16 + 200 * 219 / 255)) < 4
    # The server is gone again; that is no failure of the run.
    sink.close()


def test_a_pipeline_that_fails_says_why_and_is_started_again(
    gi: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgewright.runtime.sinks.gstreamer._AGAIN_S", 0.0)
    folder = tmp_path / "films"
    sink = open_sink(f"gstreamer:jpegenc ! avimux ! filesink location={folder}/a.avi", CONTEXT)
    with pytest.raises(SinkError, match="Could not open file"):
        for index in range(200):
            sink.write(output(index, picture(10)))
            time.sleep(0.01)
    folder.mkdir()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (folder / "a.avi").exists():
        time.sleep(0.02)
        with suppress(SinkError):
            sink.write(output(0, picture(10)))
    for index in range(20):
        sink.write(output(index, picture(10)))
        time.sleep(0.02)
    sink.close()
    assert cv2.VideoCapture(str(folder / "a.avi")).read()[0]


def test_a_pipeline_that_does_not_keep_up_never_holds_the_run_up(gi: None) -> None:
    with open_sink("gstreamer:identity sleep-time=200000 ! fakesink", CONTEXT) as sink:
        start = time.monotonic()
        for index in range(400):
            sink.write(output(index, picture(1)))
        # It would take 80 s to wait for it.
        assert time.monotonic() - start < 40


def test_another_size_is_fitted_in(gi: None, tmp_path: Path) -> None:
    film = tmp_path / "a.avi"
    with open_sink(f"gstreamer:jpegenc ! avimux ! filesink location={film}", CONTEXT) as sink:
        for index in range(10):
            sink.write(output(index, picture(200, (48, 64) if index < 5 else (64, 48))))
            time.sleep(0.05)
    reader, sizes = cv2.VideoCapture(str(film)), set()
    while (read := reader.read())[0]:
        sizes.add(read[1].shape)
    assert sizes == {(48, 64, 3)}


@pytest.mark.parametrize("text", ["", "appsrc ! fakesink"])
def test_what_is_no_end_of_a_pipeline_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="wants the elements behind the pictures"):
        open_sink(f"gstreamer:{text}", CONTEXT)


def test_an_unknown_element_is_named_and_no_password_is(gi: None) -> None:
    sink = open_sink("gstreamer:nosuchelement location=rtsp://me:s3cr3t@host/a", CONTEXT)
    with pytest.raises(SinkError, match=r"is no pipeline: .*nosuchelement") as failed:
        sink.write(output(0, picture(1)))
    assert "s3cr3t" not in str(failed.value)


def test_without_gstreamer_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_appsrc, "opencv_has_gstreamer", lambda: False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SinkError, match="built without GStreamer and PyGObject is not installed"):
        open_sink("gstreamer:fakesink", CONTEXT)


class Film:
    """Stands for an OpenCV with GStreamer."""

    opened: ClassVar[list[tuple[Any, ...]]] = []

    def __init__(self, *arguments: Any) -> None:
        self.opened.append(arguments)

    def isOpened(self) -> bool:
        return True

    def write(self, image: Image) -> None:
        pass

    def release(self) -> None:
        pass


def test_an_opencv_with_gstreamer_is_used_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_appsrc, "opencv_has_gstreamer", lambda: True)
    monkeypatch.setattr(cv2, "VideoWriter", Film)
    monkeypatch.setattr(Film, "opened", [])
    with open_sink("gstreamer:fakesink", CONTEXT) as sink:
        sink.write(output(0, picture(1, (47, 62))))
    pipeline = "appsrc ! queue leaky=downstream max-size-buffers=2 ! videoconvert ! fakesink"
    assert Film.opened == [(pipeline, cv2.CAP_GSTREAMER, 0, 10.0, (62, 48))]


# --- encoders in hardware


@pytest.fixture(name="told")
def told_fixture(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    _encoders.working_encoder.cache_clear()
    yield []
    _encoders.working_encoder.cache_clear()


@pytest.fixture(name="machine")
def machine_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[str]) -> Callable[..., None]:
    """A machine with these device files, on which GStreamer can use these elements alone."""

    def make(devices: tuple[str, ...], works: tuple[str, ...]) -> None:
        for name in devices:
            (tmp_path / "dev" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "dev" / name).touch()
        here = tuple(
            replace(encoder, devices=encoder.devices.replace("/dev", str(tmp_path / "dev")))
            for encoder in _encoders.HARDWARE
        )
        monkeypatch.setattr(_encoders, "HARDWARE", here)
        (tmp_path / "bin").mkdir()
        launcher = tmp_path / "bin" / "gst-launch-1.0"
        tests = " ".join(f'case "$*" in *" {name}"*) exit 0;; esac;' for name in works)
        launcher.write_text(f'#!/bin/sh\n{tests}\necho "WARNING: erroneous pipeline: no element" >&2\nexit 1\n')
        launcher.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    return make


JETSON, NVIDIA, BOARD, INTEL = "v4l2-nvenc", "nvidia0", "video11", "dri/renderD128"


@pytest.mark.parametrize(
    ("devices", "works", "chosen"),
    [
        ((JETSON, NVIDIA), ("nvv4l2h264enc", "nvh264enc"), "nvv4l2h264enc"),
        # An Orin Nano has the element, and no circuit for it.
        ((JETSON, BOARD), ("v4l2h264enc",), "v4l2h264enc"),
        ((NVIDIA,), ("nvv4l2h264enc", "nvh264enc"), "nvh264enc"),
        ((INTEL,), ("vah264enc",), "vah264enc"),
    ],
)
def test_the_first_encoder_that_works_is_used(
    machine: Callable[..., None], devices: tuple[str, ...], works: tuple[str, ...], chosen: str
) -> None:
    machine(devices, works)
    assert _encoders.working_encoder().element == chosen


def test_the_film_is_encoded_by_it_and_the_run_says_so(
    machine: Callable[..., None], told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine((BOARD,), ("v4l2h264enc",))
    opened: list[str] = []

    def open_film(name: str, pipeline: str, *_: Any, **__: Any) -> NoFilm:
        opened.append(pipeline)
        return NoFilm()

    monkeypatch.setattr(_encoders, "open_pictures", open_film)
    with (
        pytest.raises(SinkError, match="cannot be played"),
        open_sink(f"video:{tmp_path}/a.mp4", replace(CONTEXT, tell=told.append)) as sink,
    ):
        sink.write(output(0, picture(1)))
    assert told == [f"video {tmp_path}/a.mp4: encoded in hardware by v4l2h264enc"]
    assert re.fullmatch(
        r'videoconvert ! v4l2h264enc ! .* ! h264parse ! mp4mux ! filesink location=".*\.mp4"', opened[0]
    )


class NoFilm:
    def push(self, image: Image) -> None:
        pass

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        pass


def test_without_one_opencv_encodes_unless_hardware_was_asked_for(machine: Callable[..., None], tmp_path: Path) -> None:
    machine((JETSON,), ())
    with open_sink(f"video:{tmp_path}/a.mp4", CONTEXT) as sink:
        sink.write(output(0, picture(1)))
    assert cv2.VideoCapture(f"{tmp_path}/a.mp4").read()[0]
    with (
        pytest.raises(
            SinkError, match=r"no encoder in hardware works \(nvv4l2h264enc: .*no element\); use encoder=software"
        ),
        open_sink(f"video:{tmp_path}/b.mp4?encoder=hardware", CONTEXT) as sink,
    ):
        sink.write(output(0, picture(1)))
    with (
        pytest.raises(SinkError, match=r"hardware encodes H.264, which goes into .mp4 or .mkv"),
        open_sink(f"video:{tmp_path}/b.avi?encoder=hardware", CONTEXT) as sink,
    ):
        sink.write(output(0, picture(1)))
    with pytest.raises(UsageError, match="option encoder of sink video is 'hard'"):
        open_sink(f"video:{tmp_path}/b.mp4?encoder=hard", CONTEXT)


def test_a_machine_without_such_a_device_is_not_asked_twice(
    told: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        _encoders, "HARDWARE", tuple(replace(e, devices=f"{tmp_path}/none*") for e in _encoders.HARDWARE)
    )
    monkeypatch.setattr(subprocess, "run", pytest.fail)
    with pytest.raises(SinkError, match="this machine shows no encoder in hardware"):
        _encoders.working_encoder()


@pytest.mark.parametrize("size_hw", [(48, 62), (33, 47)])
def test_a_film_of_a_real_pipeline_can_be_played_frame_by_frame(
    gi: None, told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size_hw: tuple[int, int]
) -> None:
    """OpenH264 stands for an encoder in hardware; everything else is as it is on a board."""
    for element in ("openh264enc", "x264enc"):
        if os.system(f"gst-inspect-1.0 --exists {element}") == 0:
            break
    else:
        pytest.skip("no H.264 encoder for GStreamer is installed")
    monkeypatch.setattr(
        _encoders, "HARDWARE", (_encoders.HardwareEncoder(element, f"videoconvert ! {element}", str(tmp_path)),)
    )
    film = tmp_path / 'a "b".mp4'
    with open_sink(f"video:{film}?encoder=hardware", replace(CONTEXT, tell=told.append)) as sink:
        for index in range(12):
            sink.write(output(index, picture(20 * index, size_hw)))
    assert told == [f"video {film}: encoded in hardware by {element}"]
    reader, levels = cv2.VideoCapture(str(film)), []
    while (read := reader.read())[0]:
        levels.append(round(float(read[1][:33, :47].mean()) / 20))
    assert levels == list(range(12))
    assert reader.get(cv2.CAP_PROP_FPS) == pytest.approx(10.0)
