"""Sources that are damaged files, and a wall clock that is set back."""

import os
import shutil
import subprocess
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import cv2
import pytest
from tests.faults.running import Run

from edgewright.runtime.sources import open_source

Start = Callable[..., Run]
Record = Callable[[str, object], None]
COMPILER = shutil.which("cc")


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_a_film_that_is_damaged_in_its_middle_is_run_to_its_end_or_one_clear_error(
    start: Start, tmp_path: Path, record_property: Record, suffix: str
) -> None:
    path, codec = tmp_path / f"film{suffix}", {".avi": "MJPG"}.get(suffix, "mp4v")
    frames = write_film(path, codec)
    content = bytearray(path.read_bytes())
    third = len(content) // 3
    content[third : third + len(content) // 10] = os.urandom(len(content) // 10)
    path.write_bytes(content)
    run = start("--source", str(path))
    status = run.wait()
    assert status in (0, 2)
    assert "Traceback" not in run.said()
    read = len(run.lines())
    assert frames // 4 <= read <= frames
    if status == 2:
        assert len([line for line in run.said().splitlines() if line.startswith("error: ")]) == 1
    record_property("seen", f"{read} of {frames} frames, status {status}")


def test_pictures_that_are_cut_off_or_nonsense_are_skipped_and_counted(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    with open_source("synthetic:1:6") as source:
        for frame in source:
            cv2.imwrite(str(folder / f"{frame.index}.jpg"), frame.image)
    whole = (folder / "1.jpg").read_bytes()
    (folder / "1.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "3.jpg").write_bytes(os.urandom(5000))
    (folder / "5.jpg").write_bytes(b"")
    run = start("--source", str(folder))
    assert run.wait() == 0
    assert [line["frame"] for line in run.lines()] == [0, 2, 4]
    assert run.report()["skipped"] == 3


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler (cc)")
def test_a_clock_that_is_set_back_an_hour_moves_nothing(
    start: Start, tmp_path: Path, record_property: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, clock = tmp_path / "set_back.so", tmp_path / "set back"
    source = Path(__file__).with_name("set_back.c")
    subprocess.run([str(COMPILER), "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("CLOCK_IS_SET_BACK", str(clock))
    run = start("--source", "synthetic:1?fps=30", "--sink", f"video:{tmp_path}/o.avi", faults=SAYS_THE_TIME)
    run.until_more(10)
    clock.touch()
    run.until(lambda: "an hour earlier" in run.said())
    run.until_more(30)
    assert run.end() == 0
    times, ages = ([line[key] for line in run.lines()] for key in ("time_s", "age_ms"))
    assert times == sorted(times)
    assert all(0 <= age < 60_000 for age in ages)
    gaps = [after - before for before, after in zip(times, islice(times, 1, None), strict=False)]
    assert max(gaps) < 60
    record_property("seen", f"{len(times)} frames in order, ages {min(ages):.1f} to {max(ages):.0f} ms")


# Proves that the clock of the process was set back.
SAYS_THE_TIME = """
import sys, threading, time
start = time.time()
def look():
    while time.time() > start - 3000:
        time.sleep(0.05)
    print("an hour earlier", file=sys.stderr, flush=True)
threading.Thread(target=look, daemon=True).start()
"""


def write_film(path: Path, codec: str) -> int:
    with open_source("synthetic:1:90?size=240x320") as source:
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 30.0, (320, 240))
        for frame in source:
            writer.write(frame.image)
        writer.release()
    return 90
