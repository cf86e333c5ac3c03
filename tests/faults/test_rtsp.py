"""A real RTSP server that is read, killed, stopped, changed, replaced by nonsense, and cut off the network."""

import itertools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.faults.nonsense import talking_nonsense
from tests.faults.rtsp import RtspServer, missing_server, rtsp_server
from tests.faults.running import Run

from edgewright.runtime.sources.images import read_image

Start = Callable[..., Run]
Record = Callable[[str, object], None]
USER, PASSWORD = "watchman", "hush-hush"


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_network_camera_is_run_and_drawn(start: Start, tmp_path: Path, transport: str) -> None:
    with rtsp_server() as server:
        source = f"{server.url}?transport={transport}"
        run = start("--source", source, "--sink", f"images:{tmp_path}/out", "--max-frames", "20")
        assert run.wait() == 0, run.said()
    lines = run.lines()
    assert [line["frame"] for line in lines] == sorted({line["frame"] for line in lines})
    found = [thing for line in lines for thing in line["detections"]]
    # The one square of the server; this network finds the cells that it covers.
    assert found
    assert {thing["class_id"] for thing in found} == {0}
    assert all(0 <= line["age_ms"] for line in lines)
    assert {read_image(path).shape for path in (tmp_path / "out").iterdir()} == {(480, 640, 3)}


@pytest.mark.parametrize("password", [PASSWORD, "hush-wrong"], ids=["right", "wrong"])
def test_user_and_password_of_a_camera_are_in_no_output(start: Start, tmp_path: Path, password: str) -> None:
    with rtsp_server("--login", f"{USER}:{PASSWORD}") as server:
        url = server.url.replace("rtsp://", f"rtsp://{USER}:{password}@")
        sinks = ("--sink", f"images:{tmp_path}/out", "--sink", f"video:{tmp_path}/out.mkv")
        run = start("--source", f"{url}?timeout=5", *sinks, "--max-frames", "5", debug="--debug")
        status = run.wait()
        if password == PASSWORD:
            assert status == 0, run.said()
            server.kill()
        else:
            assert status != 0
            assert "cannot be opened within 5 s" in run.said()
    everything = b"\n".join(
        str(path.relative_to(tmp_path)).encode() + path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    )
    assert b"hush" not in everything
    assert USER.encode() not in everything


def test_the_password_is_in_no_output_when_the_camera_dies_while_it_is_read(start: Start, tmp_path: Path) -> None:
    with rtsp_server("--login", f"{USER}:{PASSWORD}") as server:
        url = server.url.replace("rtsp://", f"rtsp://{USER}:{PASSWORD}@")
        run = start("--source", f"{url}?timeout=2", debug="--debug")
        run.until_more()
        server.kill()
        run.until(lambda: "trying again" in run.said())
        assert run.end() == 0
    assert "rtsp://***@127.0.0.1" in run.said()
    assert "hush" not in run.said() + run.report_path.read_text() + run.lines_path.read_text()


def test_a_server_that_is_killed_again_and_again_is_read_on_and_nothing_leaks(
    start: Start, full: bool, record_property: Record
) -> None:
    times = 20 if full else 3
    with rtsp_server() as server:
        run = start("--source", f"{server.url}?timeout=5")
        held = []
        for _ in range(times):
            run.until_more(5)
            held.append(run.held())
            server.restart()
        run.until_more(5)
        held.append(run.held())
        assert run.end() == 0
    events = run.report()["events"]
    assert events["restarts"] >= times
    # A connection that is given up may still be open, with the thread that reads it.
    assert max(one.files for one in held) <= held[0].files + 4
    assert max(one.threads for one in held) <= held[0].threads + 4
    # The first connections grow the heap; what leaks grows it every time.
    growth_mib = held[-1].rss_mib - held[min(2, times)].rss_mib
    assert growth_mib < 2.0 * times
    numbers = [line["frame"] for line in run.lines()]
    assert numbers == sorted(set(numbers))
    record_property(
        "seen",
        f"{times} times killed, {events['restarts']} times opened again, {len(numbers)} frames; files {held[0].files} → "
        f"{held[-1].files}, threads {held[0].threads} → {held[-1].threads}, memory {growth_mib:+.1f} MiB after the second",
    )


def test_a_server_that_stands_still_is_noticed_and_read_on_when_it_goes_on(
    start: Start, record_property: Record
) -> None:
    with rtsp_server() as server:
        run = start("--source", f"{server.url}?timeout=2")
        run.until_more()
        server.freeze()
        run.until(lambda: "trying again" in run.said())
        server.thaw()
        run.until_more()
        assert run.end() == 0
    events = run.report()["events"]
    assert events["restarts"] >= 1
    record_property("seen", f"noticed after 2 s (`timeout=2`), {events['restarts']} times opened again")


def test_pictures_that_change_their_size_are_run_and_filmed_on(
    start: Start, tmp_path: Path, record_property: Record
) -> None:
    with rtsp_server("--codec", "jpeg", "--other-size", "240x320", "--every", "10") as server:
        run = start("--source", server.url, "--sink", f"video:{tmp_path}/out.mkv", "--max-frames", "40")
        assert run.wait() == 0, run.said()
    changes = run.report()["events"]["size_changes"]
    assert changes >= 2
    film = cv2.VideoCapture(f"{tmp_path}/out.mkv")
    shapes = {frame.shape for frame in frames_of(film)}
    assert shapes in ({(480, 640, 3)}, {(240, 320, 3)})
    record_property("seen", f"{changes} changes in 40 frames, a film of one size")


def test_nonsense_at_the_port_is_one_clear_error(start: Start) -> None:
    with talking_nonsense() as port:
        run = start("--source", f"rtsp://127.0.0.1:{port}/live?timeout=2")
        assert run.wait() == 2
    assert [line[:32] for line in run.said().splitlines()] == [
        "error: rtsp://127.0.0.1:" + str(port) + "/live"[: 32 - 29]
    ]
    assert not run.lines_path.exists()


def test_nonsense_in_place_of_a_camera_is_survived(start: Start, record_property: Record) -> None:
    with rtsp_server() as server:
        run = start("--source", f"{server.url}?timeout=2")
        run.until_more()
        server.kill()
        with talking_nonsense(server.port):
            run.until(lambda: run.said().count("trying again") >= 3)
        server.start()
        run.until_more()
        assert run.end() == 0
    record_property("seen", f"{run.report()['events']['restarts']} times opened again")


def test_a_network_that_fails_is_survived(start: Start, full: bool, record_property: Record) -> None:
    reason = missing_server() or no_namespaces()
    if reason:
        pytest.skip(reason)
    times = 5 if full else 1
    with wire() as (here, there, address, cable):
        inside = ("ip", "netns", "exec", there)
        with RtspServer("--address", address, prefix=inside) as server:
            url = server.url.replace("127.0.0.1", address)
            run = start("--source", f"{url}?timeout=2", prefix=("ip", "netns", "exec", here))
            run.until_more()
            before = run.held()
            for number in range(times):
                subprocess.run(["ip", "-n", there, "link", "set", cable, "down"], check=True)
                run.until(lambda number=number: run.said().count("trying again") > number)  # type: ignore[misc]
                subprocess.run(["ip", "-n", there, "link", "set", cable, "up"], check=True)
                run.until_more()
            after = run.held()
            assert run.end() == 0
    assert after.files <= before.files + 4
    assert after.threads <= before.threads + 4
    record_property("seen", f"{times} times cut off, {run.report()['events']['restarts']} times opened again")


def frames_of(film: cv2.VideoCapture) -> Iterator["np.ndarray[tuple[int, ...], np.dtype[np.uint8]]"]:
    while True:
        read, image = film.read()
        if not read:
            return
        yield np.asarray(image, np.uint8)


_numbers = itertools.count()


def no_namespaces() -> str | None:
    """Why this machine lets us make no network namespaces."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "network namespaces need root and the command ip"
    done = subprocess.run(["ip", "netns", "add", "edgewright-probe"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return f"there can be no network namespace here: {done.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", "edgewright-probe"], check=True)
    return None


@contextmanager
def wire() -> Iterator[tuple[str, str, str, str]]:
    """Two namespaces with nothing but a cable between them: their names, the address of the second and its end of the cable."""
    name = f"ew{os.getpid() % 10000}{next(_numbers)}"
    here, there, ends = f"{name}-here", f"{name}-there", (f"{name}h", f"{name}t")
    address = "10.231.7.2"
    try:
        for namespace in (here, there):
            subprocess.run(["ip", "netns", "add", namespace], check=True)
        pair = ["type", "veth", "peer", "name", ends[1], "netns", there]
        subprocess.run(["ip", "link", "add", ends[0], "netns", here, *pair], check=True)
        for namespace, end, own in ((here, ends[0], "10.231.7.1"), (there, ends[1], address)):
            subprocess.run(["ip", "-n", namespace, "address", "add", f"{own}/24", "dev", end], check=True)
            subprocess.run(["ip", "-n", namespace, "link", "set", end, "up"], check=True)
        yield here, there, address, ends[1]
    finally:
        for namespace in (here, there):
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)
