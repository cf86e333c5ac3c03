"""Starts and ends the real RTSP server of rtsp_server.py, and reads the time that it burns into its pictures."""

import os
import signal
import subprocess
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.faults.rtsp_server import BLOCKS, STRIPE_ROWS

from edgewright.runtime.results import Image

SYSTEM_PYTHON = Path("/usr/bin/python3")
_SCRIPT = Path(__file__).with_name("rtsp_server.py")
_START_S = 60.0


class RtspServer:
    """A server at `url`; it is there while entered, and after `restart` again at the same port."""

    def __init__(self, *options: str, prefix: Sequence[str] = ()) -> None:
        self._options = options
        self._prefix = prefix
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/live"

    def start(self) -> None:
        command = [*self._prefix, str(SYSTEM_PYTHON), str(_SCRIPT), "--port", str(self.port), *self._options]
        # Leaves when its standard input is closed, also when nobody is left to close it.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.strip().isdecimal():
            self.kill()
            raise RuntimeError(f"the RTSP server does not start: {line}")
        self.port = int(line)

    def kill(self) -> None:
        """As when the power of a camera fails: SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None

    def restart(self) -> None:
        self.kill()
        self.start()

    def change(self, *options: str) -> None:
        """What it is started with from the next time on."""
        self._options = options

    def plays(self, option: str) -> bool:
        return option in self._options

    def freeze(self) -> None:
        """As when the camera's program hangs: the connection stays, and nothing comes."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)

    def __enter__(self) -> "RtspServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


@cache
def missing_server() -> str | None:
    """Why there can be no server on this machine; None when there can."""
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    if not SYSTEM_PYTHON.exists():
        return f"there is no {SYSTEM_PYTHON}"
    done = subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True, text=True, check=False)
    return (
        None
        if done.returncode == 0
        else "the system's Python has no GStreamer RTSP server; see scripts/system_packages"
    )


@contextmanager
def rtsp_server(*options: str) -> Iterator[RtspServer]:
    """A running server; the test is skipped with the reason where there can be none."""
    reason = missing_server()
    if reason is not None:
        pytest.skip(reason)
    with RtspServer(*options) as server:
        yield server


def made_s(image: Image, now_s: float | None = None) -> float | None:
    """When the server made the picture, by the monotonic clock; None when the stripe is damaged or not there."""
    block = image.shape[1] // BLOCKS
    rows = cv2.cvtColor(image[4 : STRIPE_ROWS - 4, : block * BLOCKS], cv2.COLOR_BGR2GRAY)
    levels = rows.reshape(rows.shape[0], BLOCKS, block)[:, :, block // 4 : block - block // 4].mean(axis=(0, 2))
    bits = int("".join("1" if level > 127 else "0" for level in levels), 2)
    content = (bits >> 8).to_bytes(4, "big")
    if zlib.crc32(content) & 0xFF != bits & 0xFF:
        return None
    now_ms = int((time.monotonic() if now_s is None else now_s) * 1000)
    return (now_ms - (now_ms - (bits >> 8)) % 2**32) / 1000


def write_i420(path: Path, pictures: Sequence[Image]) -> None:
    """The pictures as the server's `--film`."""
    with path.open("wb") as file:
        for picture in pictures:
            file.write(np.ascontiguousarray(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420)).tobytes())
