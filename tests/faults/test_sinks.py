"""Sinks whose folder goes, whose disk is full, that are slow, or whose process is killed in the middle of a write."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import pytest
from tests.faults.running import Run

Start = Callable[..., Run]
Record = Callable[[str, object], None]
LIVE = ("--source", "synthetic:1?fps=30")
FILM = ("--source", "synthetic:1:100000")


def test_a_folder_that_is_removed_loses_outputs_only_until_it_is_there_again(
    start: Start, tmp_path: Path, record_property: Record
) -> None:
    folder = tmp_path / "removed"
    sinks = [word for uri in (f"images:{folder}/i", f"video:{folder}/v.avi") for word in ("--sink", uri)]
    run = start(*LIVE, *sinks)
    run.until_more()
    shutil.rmtree(folder)
    run.until(lambda: run.said().count("outputs are left out") == 2)
    run.until_more()
    (folder / "i").mkdir(parents=True)
    run.until(lambda: run.said().count("works again") == 2)
    run.until(lambda: len(list((folder / "i").iterdir())) > 3)
    assert run.end() == 0
    assert frames_of(folder / "v.avi") >= 2
    lost = run.report()["events"]["outputs_lost"]
    assert lost >= 2
    record_property("seen", f"{lost} outputs lost while it was gone, {len(run.lines())} lines of the sink beside it")


def test_the_lines_go_on_when_their_file_is_removed(start: Start) -> None:
    run = start(*LIVE)
    run.until_more()
    run.lines_path.unlink()
    run.until(run.lines_path.exists)
    run.until_more()
    assert run.end() == 0


@pytest.mark.parametrize("source", [LIVE, FILM], ids=["live", "file"])
def test_a_disk_that_is_full_leaves_whole_files(
    start: Start, tmp_path: Path, record_property: Record, source: tuple[str, ...]
) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        run = start(*source, "--sink", f"images:{disk}/i", "--sink", f"jsonl:{disk}/second.jsonl")
        if source is LIVE:
            run.until(lambda: "outputs are left out" in run.said())
            run.until_more()
            for path in (disk / "i").iterdir():
                path.unlink()
            run.until(lambda: "works again" in run.said())
            run.until_more()
            assert run.end() == 0
            record_property("seen", f"{run.report()['events']['outputs_lost']} outputs lost until there was room")
        else:
            assert run.wait() == 2
            assert run.said().splitlines()[-1].startswith("error: ")
            assert "No space left on device" in run.said()
            record_property("seen", "ends with status 2")
        assert "Traceback" not in run.said()
        assert all(cv2.imread(str(path)) is not None for path in (disk / "i").iterdir())
        assert all(line.endswith(b"}\n") for line in (disk / "second.jsonl").read_bytes().splitlines(keepends=True))


def test_a_full_disk_ends_a_film_that_can_be_played(start: Start, tmp_path: Path, record_property: Record) -> None:
    with small_disk(tmp_path / "disk", "5m") as disk:
        run = start(*FILM, "--sink", f"video:{disk}/o.mkv")
        assert run.wait() == 2
        assert "the disk is full" in run.said()
        frames = frames_of(disk / "o.mkv")
        assert frames > 10
        assert [path.name for path in disk.iterdir()] == ["o.mkv"]
    record_property("seen", f"{frames} frames, status 2")


def test_a_process_that_is_killed_leaves_lines_and_films_that_can_be_read(
    start: Start, tmp_path: Path, record_property: Record
) -> None:
    run = start(*FILM, "--sink", f"video:{tmp_path}/o.mkv", "--sink", f"video:{tmp_path}/p.avi")
    run.until(lambda: len(run.lines()) > 150)
    run.process.send_signal(signal.SIGKILL)
    run.wait()
    written = len(run.lines())
    # Each line is one write.
    assert run.lines_path.read_bytes().endswith(b"}\n")
    (film,) = tmp_path.glob("o.unfinished-*.mkv")
    (other,) = tmp_path.glob("p.unfinished-*.avi")
    played = frames_of(film), frames_of(other)
    # At most the last quarter of a MiB is missing: a picture of this film has more than 5 KiB in either.
    assert all(written - 60 <= count <= written + 2 for count in played)
    record_property("seen", f"{written} lines; {played[0]} frames of .mkv and {played[1]} of .avi can be played")


def test_a_sink_that_is_slow_makes_a_live_run_drop_frames_and_not_fall_behind(
    start: Start, tmp_path: Path, record_property: Record
) -> None:
    slow = """
import time
from edgewright.runtime.sinks import images
_write = images.ImagesSink.write
images.ImagesSink.write = lambda self, output: (time.sleep(0.2), _write(self, output))
"""
    run = start(*LIVE, "--sink", f"images:{tmp_path}/i", faults=slow)
    run.until(lambda: len(run.lines()) > 30)
    assert run.end() == 0
    dropped, ages = run.report()["dropped"], sorted(line["age_ms"] for line in run.lines())
    # A machine that is busy draws few frames in 0.2 s.
    assert dropped > 0
    # Two frames are on their way while one is written: 0.2 s for each, and a busy machine.
    median = ages[len(ages) // 2]
    assert median < 2000
    record_property(
        "seen", f"{len(ages)} frames written, {dropped} dropped, median age {median:.0f} ms at 200 ms a write"
    )


def frames_of(path: Path) -> int:
    reader, count = cv2.VideoCapture(str(path)), 0
    while reader.grab():
        count += 1
    reader.release()
    return count


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system in memory of that size; the test is skipped where there can be none."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "edgewright", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk needs root and the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
