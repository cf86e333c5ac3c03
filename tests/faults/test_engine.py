"""Engines that fail, and inferences that never return."""

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.running import PATIENCE_S, Run

Start = Callable[..., Run]

# The fourth inference of ONNX Runtime does what is put in its place.
ENGINE = """
import time
from edgewright.runtime.backends import ort
from edgewright.runtime.errors import BackendError
_infer, _calls = ort.OrtBackend.infer, []
def infer(self, feeds):
    _calls.append(1)
    if len(_calls) == 4:
        {fault}
    return _infer(self, feeds)
ort.OrtBackend.infer = infer
"""
HANGS = ENGINE.format(fault="time.sleep(10**6)")
FAILS = ENGINE.format(fault="raise BackendError('the device fell off the bus')")
SOURCE = ("--source", "synthetic:1?size=64x96&fps=30")
SENTENCE = "error: the inference has not returned for 1 s; the engine or its device hangs: "


def test_an_inference_that_never_returns_ends_the_run_with_one_sentence_and_whole_files(
    start: Start, tmp_path: Path
) -> None:
    run = start(*SOURCE, "--stuck-after", "1", "--sink", f"video:{tmp_path}/o.avi", faults=HANGS)
    assert run.wait() == 3
    (sentence,) = [line for line in run.said().splitlines() if line.startswith("error:")]
    assert sentence.startswith(SENTENCE)
    assert "Traceback" not in run.said()
    assert len(run.lines()) == 3
    assert run.report()["error"] == sentence.removeprefix("error: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.avi", "report.json", "run.jsonl", "said.txt"]


def test_an_inference_that_never_returns_to_the_main_thread_ends_the_process(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A lock of the C library that nobody opens, as in a driver: no handler of a signal runs.
    dead_lock = "import ctypes; lock = ctypes.create_string_buffer(64); take = ctypes.CDLL(None).pthread_mutex_lock"
    hangs = ENGINE.format(fault=f"{dead_lock}; take(lock); take(lock)")
    quick = f"{hangs}\nfrom edgewright.pipeline import watchdog\nwatchdog._GRACE_S = 0.5"
    run = start(*SOURCE, "--stuck-after", "1", "--loop", "sequential", faults=quick)
    assert run.wait() == 3
    assert [line[: len(SENTENCE)] for line in run.said().splitlines()] == [SENTENCE]
    assert len(run.lines()) == 3


def test_a_slow_inference_is_not_taken_for_one_that_never_returns(start: Start) -> None:
    slow = ENGINE.format(fault="time.sleep(2)")
    run = start(*SOURCE, "--stuck-after", "60", "--max-frames", "6", faults=slow)
    assert run.wait() == 0
    assert len(run.lines()) == 6


def test_an_engine_that_fails_is_opened_again_and_the_lost_frames_are_counted(start: Start) -> None:
    run = start(*SOURCE, "--max-frames", "8", faults=FAILS)
    assert run.wait() == 0
    assert "the device fell off the bus" in run.said()
    assert run.report()["events"]["backend_restarts"] == 1
    assert run.report()["events"]["frames_lost"] >= 1
    assert len(run.lines()) == 8


def test_an_engine_that_fails_again_and_again_is_one_clear_error(start: Start) -> None:
    run = start(*SOURCE, faults=FAILS.replace("== 4", ">= 4"))
    assert run.wait() == 3
    assert run.said().splitlines()[-1] == "error: the device fell off the bus"
    assert "Traceback" not in run.said()
    assert len(run.lines()) == 3


def test_a_service_manager_hears_that_the_run_is_ready_alive_and_over_and_nothing_while_it_hangs(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        run = start(*SOURCE, "--stuck-after", "3", faults=HANGS)
        while "STOPPING=1" not in heard:
            heard.append(manager.recv(100).decode())
            last_s = time.monotonic()
        assert run.wait() == 3
    assert (heard[0], heard[-1]) == ("READY=1", "STOPPING=1")
    assert set(heard[1:-1]) == {"WATCHDOG=1"}
    assert time.monotonic() - last_s < PATIENCE_S
