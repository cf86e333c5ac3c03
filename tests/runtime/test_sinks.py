"""Sinks: JSON lines, pictures and videos."""

import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pycocotools.mask as mask_utils
import pytest

from edgewright.runtime import plugins, sinks
from edgewright.runtime.errors import SinkError, UsageError
from edgewright.runtime.results import BoxMask, Detections, Frame, Image, PanopticMap, Result, Segment, SemanticMap
from edgewright.runtime.sinks import Output, Sink, SinkContext, open_sink, open_sinks
from edgewright.runtime.sinks.video import fit_into

CONTEXT = SinkContext(labels=("bolt", "汽车"))
FOUND = Detections(
    np.array([[1.126, 2.0, 30.5, 40.25], [0, 0, 5, 6]], np.float32),
    np.array([0.87654, 0.5], np.float32),
    np.array([1, 7]),
)


def output(index: int = 0, *, picture: Image | None = None, result: Result = FOUND, **frame: Any) -> Output:
    image = np.zeros((48, 64, 3), np.uint8) if picture is None else picture
    captured = Frame(image, index, frame.pop("time_s", 12.5), frame.pop("source", "belt.mp4"), **frame)
    return Output(captured, result, age_s=0.0451239, latency_s={"capture": 0.001, "infer": 0.0402}, picture=image)


def read_video(path: Path) -> list[Image]:
    reader, frames = cv2.VideoCapture(str(path)), []
    while (read := reader.read())[0]:
        frames.append(np.asarray(read[1], np.uint8))
    reader.release()
    return frames


# --- JSON lines


def test_a_line_says_what_when_how_old_and_how_fast(tmp_path: Path) -> None:
    path = tmp_path / "made" / "run.jsonl"
    with open_sink(f"jsonl:{path}", CONTEXT) as sink:
        sink.write(output(3, meta={"pos_msec": 120.0}))
    line = json.loads(path.read_text(encoding="utf-8"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("utc"))
    assert line == {
        "frame": 3,
        "source": "belt.mp4",
        "time_s": 12.5,
        "media_time_s": 0.12,
        "age_ms": 45.124,
        "detections": [
            {"box": [1.13, 2.0, 30.5, 40.25], "score": 0.8765, "class_id": 1, "label": "汽车"},
            {"box": [0.0, 0.0, 5.0, 6.0], "score": 0.5, "class_id": 7, "label": None},
        ],
        "latency_ms": {"capture": 1.0, "infer": 40.2},
    }


def test_a_line_is_readable_as_soon_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with open_sink(f"jsonl:{path}", CONTEXT) as sink:
        for index in range(3):
            sink.write(output(index))
            assert [json.loads(line)["frame"] for line in path.read_text().splitlines()] == list(range(index + 1))


@pytest.mark.parametrize("before", [None, b"an earlier run\n"])
def test_a_run_that_fails_before_its_first_frame_leaves_everything_as_it_was(
    tmp_path: Path, before: bytes | None
) -> None:
    path = tmp_path / "run.jsonl"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(RuntimeError), open_sink(f"jsonl:{path}", CONTEXT):
        raise RuntimeError("the camera is unplugged")
    assert (path.read_bytes() if path.exists() else None) == before


@pytest.mark.parametrize("frames", [0, 2])
def test_a_run_that_ends_well_replaces_what_an_earlier_one_wrote(tmp_path: Path, frames: int) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text("an earlier run\n" * 99)
    with open_sink(f"jsonl:{path}", CONTEXT) as sink:
        for index in range(frames):
            sink.write(output(index))
    assert [json.loads(line)["frame"] for line in path.read_text().splitlines()] == list(range(frames))


def test_masks_of_instances_are_in_the_line_when_asked_for(tmp_path: Path) -> None:
    pixels = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)
    masks = (BoxMask((2, 45), pixels), BoxMask((0, 0), np.zeros((0, 0), bool)))
    found = Detections(FOUND.boxes_xyxy, FOUND.scores, FOUND.class_ids, masks)
    lines = {}
    for form in ("none", "rle", "polygon"):
        with open_sink(f"jsonl:{tmp_path}/{form}.jsonl?masks={form}", CONTEXT) as sink:
            sink.write(output(result=found))
        lines[form] = json.loads((tmp_path / f"{form}.jsonl").read_text())["detections"]
    assert all("mask" not in thing for thing in lines["none"])
    coded = {"size": [48, 64], "counts": lines["rle"][0]["mask"]["counts"]}
    assert lines["rle"][0]["mask"] == coded
    assert (mask_utils.decode(mask_utils.frPyObjects(coded, 48, 64)) == masks[0].paste((48, 64))).all()
    assert lines["rle"][1]["mask"]["counts"] == [48 * 64]
    (rings,) = lines["polygon"][0]["mask"]["polygons"]
    assert [sorted(zip(ring[::2], ring[1::2], strict=True)) for ring in rings] == [
        [(2, 45), (2, 48), (5, 45), (5, 48)],
        [(3, 46), (3, 47), (4, 46), (4, 47)],
    ]
    assert lines["polygon"][1]["mask"]["polygons"] == []


def test_tracks_have_their_number_in_the_line(tmp_path: Path) -> None:
    tracked = Detections(FOUND.boxes_xyxy, FOUND.scores, FOUND.class_ids, track_ids=np.array([11, 12]))
    with open_sink(f"jsonl:{tmp_path}/run.jsonl", CONTEXT) as sink:
        sink.write(output(result=tracked))
    line = json.loads((tmp_path / "run.jsonl").read_text())
    assert [thing["track_id"] for thing in line["detections"]] == [11, 12]


def test_maps_are_summed_up_in_pixels(tmp_path: Path) -> None:
    class_ids = np.zeros((4, 5), np.uint8)
    class_ids[0] = 1
    segment_ids = np.zeros((4, 5), np.int32)
    segment_ids[:2, 0] = 9
    with open_sink(f"jsonl:{tmp_path}/run.jsonl", CONTEXT) as sink:
        sink.write(output(result=SemanticMap(class_ids)))
        sink.write(output(result=PanopticMap(segment_ids, (Segment(9, 0, True, 0.91239), Segment(10, 1, False)))))
    semantic, panoptic = (json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines())
    assert semantic["semantic"] == [
        {"class_id": 0, "label": "bolt", "pixels": 15},
        {"class_id": 1, "label": "汽车", "pixels": 5},
    ]
    assert panoptic["panoptic"] == [
        {
            "segment_id": 9, "class_id": 0, "label": "bolt", "is_thing": True, "score": 0.9124, "area": 2,
            "box": [0, 0, 1, 2],
        },
        {
            "segment_id": 10, "class_id": 1, "label": "汽车", "is_thing": False, "score": None, "area": 0, "box": None,
        },
    ]  # fmt: skip
    assert semantic["detections"] == panoptic["detections"] == []


def test_a_line_is_valid_json_also_for_odd_numbers_and_odd_file_names(tmp_path: Path) -> None:
    odd = Detections(np.array([[np.nan, 0, np.inf, 1]], np.float32), np.array([0.5], np.float32), np.array([0]))
    with open_sink(f"jsonl:{tmp_path}/run.jsonl", CONTEXT) as sink:
        sink.write(output(result=odd, source='a"b\n\udcff.png'))
    line = json.loads((tmp_path / "run.jsonl").read_bytes().decode("utf-8"), parse_constant=pytest.fail)
    assert line["detections"][0]["box"] == [None, 0.0, None, 1.0]
    assert line["source"] == 'a"b\n\udcff.png'


def test_a_minus_writes_lines_to_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", stream)
    with open_sink("jsonl:-", CONTEXT) as sink:
        sink.write(output(4))
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    assert json.loads(buffer.getvalue())["frame"] == 4


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_a_clear_error() -> None:
    with (
        pytest.raises(SinkError, match=r"/dev/full cannot be written: No space left on device"),
        open_sink("jsonl:/dev/full", CONTEXT) as sink,
    ):
        sink.write(output())


class SmallDisk:
    """Stands for a file on a disk with room for so many bytes."""

    closed = False

    def __init__(self, room: int) -> None:
        self.room = room
        self.content = b""

    def write(self, data: bytes) -> int:
        accepted = data[: self.room - len(self.content)]
        if not accepted:
            raise OSError(28, "No space left on device")
        self.content += accepted
        return len(accepted)

    def truncate(self, size: int) -> None:
        self.content = self.content[:size]

    def close(self) -> None:
        pass


def test_a_full_disk_leaves_only_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SmallDisk(room=700)
    (tmp_path / "run.jsonl").touch()
    monkeypatch.setattr(Path, "open", lambda *_, **__: disk)
    sink = open_sink(f"jsonl:{tmp_path}/run.jsonl", CONTEXT)
    with pytest.raises(SinkError, match="No space left on device"):
        for index in range(100):
            sink.write(output(index))
    lines = disk.content.splitlines()
    assert [json.loads(line)["frame"] for line in lines] == list(range(len(lines)))
    assert len(lines) >= 1


# --- pictures


@pytest.mark.parametrize(("option", "suffix"), [("", ".jpg"), ("?format=png", ".png")])
def test_every_frame_becomes_a_picture_named_by_source_and_index(tmp_path: Path, option: str, suffix: str) -> None:
    picture = np.full((48, 64, 3), (10, 200, 90), np.uint8)
    with open_sink(f"images:{tmp_path}/a/b{option}", CONTEXT) as sink:
        sink.write(output(7, picture=picture, source="/data/street.mp4"))
        sink.write(output(0, picture=picture, source="synthetic:3:9"))
    files = sorted((tmp_path / "a" / "b").iterdir())
    assert [file.name for file in files] == [f"street_000007{suffix}", f"synthetic_3_9_000000{suffix}"]
    stored = cv2.imread(str(files[0]))
    assert stored is not None
    assert np.abs(stored.astype(int) - picture).max() <= 3


def test_pictures_of_an_earlier_run_are_neither_mixed_nor_lost_unasked(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with open_sink(f"images:{folder}", CONTEXT) as sink:
        sink.write(output(0, picture=np.zeros((4, 4, 3), np.uint8)))
        sink.write(output(1, picture=np.zeros((4, 4, 3), np.uint8)))
    (folder / "holiday.jpg").touch()
    with pytest.raises(UsageError, match=r"holds pictures of an earlier run .2.*old=delete.*old=keep"):
        open_sink(f"images:{folder}", CONTEXT)
    with open_sink(f"images:{folder}?old=keep&format=png", CONTEXT) as sink:
        sink.write(output(1, picture=np.zeros((4, 4, 3), np.uint8)))
    names = ["belt_000000.jpg", "belt_000001.jpg", "belt_000001.png", "holiday.jpg"]
    assert sorted(path.name for path in folder.iterdir()) == names
    open_sink(f"images:{folder}?old=delete", CONTEXT).close()
    assert [path.name for path in folder.iterdir()] == ["holiday.jpg"]


def test_a_picture_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    with open_sink(f"images:{tmp_path}/out", CONTEXT) as sink:
        (tmp_path / "out").rmdir()
        with pytest.raises(SinkError, match="cannot be written: No such file or directory"):
            sink.write(output())


# --- videos


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".avi"])
def test_a_video_holds_every_frame_at_the_rate_of_the_source(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    with open_sink(f"video:{path}", SinkContext((), fps=12.5)) as sink:
        for index in range(5):
            sink.write(output(index, picture=np.full((48, 64, 3), 40 * index, np.uint8)))
        assert not path.exists()
    frames = read_video(path)
    assert [frame.mean() for frame in frames] == pytest.approx([0, 40, 80, 120, 160], abs=6)
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == 12.5
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".avi"])
@pytest.mark.parametrize("size_hw", [(1, 1), (33, 47), (48, 64)])
def test_every_size_is_encoded_whole(tmp_path: Path, suffix: str, size_hw: tuple[int, int]) -> None:
    path = tmp_path / f"out{suffix}"
    with open_sink(f"video:{path}", CONTEXT) as sink:
        sink.write(output(picture=np.full((*size_hw, 3), 200, np.uint8)))
    h, w = size_hw
    stored = read_video(path)[0]
    assert stored.shape == (h + h % 2, w + w % 2, 3)
    assert stored[:h, :w].mean() == pytest.approx(200, abs=20)


def test_frames_of_another_size_are_fitted_in_with_black_bars() -> None:
    picture = fit_into(np.full((50, 100, 3), 200, np.uint8), (100, 100))
    assert (picture[25:75] == 200).all()
    assert (picture[:25] == 0).all()
    assert (picture[75:] == 0).all()


def test_a_video_keeps_what_it_has_when_an_error_ends_the_run(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"

    def run() -> None:
        with open_sink(f"video:{path}", CONTEXT) as sink:
            sink.write(output(0))
            raise RuntimeError("the engine failed")

    with pytest.raises(RuntimeError, match="the engine failed"):
        run()
    assert len(read_video(path)) == 1


def test_a_video_without_frames_is_no_file(tmp_path: Path) -> None:
    with open_sink(f"video:{tmp_path}/out.mp4", CONTEXT):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_live_video_runs_at_the_speed_of_life(tmp_path: Path) -> None:
    # Frames every 0.3 s at 10 frames/s: each is shown three times, so that frame k stands at second 0.3 k.
    path = tmp_path / "out.avi"
    with open_sink(f"video:{path}", SinkContext((), fps=10, live=True)) as sink:
        for index in range(4):
            sink.write(output(index, time_s=100 + 0.3 * index, picture=np.full((48, 64, 3), 60 * index, np.uint8)))
    levels = [round(frame.mean() / 60) for frame in read_video(path)]
    assert levels == [0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_a_live_video_leaves_frames_out_that_come_too_fast_and_cuts_long_gaps(tmp_path: Path) -> None:
    path = tmp_path / "out.avi"
    times_s = [0.0, 0.01, 0.02, 0.1, 1000.0, 1000.1]
    with open_sink(f"video:{path}", SinkContext((), fps=10, live=True)) as sink:
        for index, time_s in enumerate(times_s):
            sink.write(output(index, time_s=time_s, picture=np.full((48, 64, 3), 40 * index, np.uint8)))
    levels = [round(frame.mean() / 40) for frame in read_video(path)]
    # A gap is shown for 2 s at most.
    assert levels == [0, 3, *[4] * 20, 5]


def test_a_nearly_full_disk_ends_the_video_while_it_can_be_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.mp4"
    free = iter([100 << 20, 100 << 20, 1 << 20])
    usage = Callable[[Path], Any]
    fake: usage = lambda _: type("Usage", (), {"free": next(free)})  # noqa: E731
    monkeypatch.setattr("edgewright.runtime.sinks.video.shutil.disk_usage", fake)
    with pytest.raises(SinkError, match="the disk is full"), open_sink(f"video:{path}", CONTEXT) as sink:
        for index in range(10):
            sink.write(output(index))
    assert len(read_video(path)) == 2


def test_a_video_whose_folder_was_removed_begins_anew_when_there_is_one_again(tmp_path: Path) -> None:
    path = tmp_path / "films" / "out.mkv"
    with open_sink(f"video:{path}", CONTEXT) as sink:
        for index in range(3):
            sink.write(output(index))
        shutil.rmtree(path.parent)
        for reason in ("was removed while it was written, with 3 frames", "No such file or directory"):
            with pytest.raises(SinkError, match=reason):
                sink.write(output(3))
        path.parent.mkdir()
        for index in range(2):
            sink.write(output(4 + index))
    assert len(read_video(path)) == 2
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_film_that_a_killed_run_left_behind_is_named_and_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Process numbers end at 2**22, proc(5) on pid_max.
    left, running = (tmp_path / f"out.unfinished-{pid}.mkv" for pid in (2**22 + 1, os.getpid()))
    for film in (left, running):
        film.write_bytes(b"film")
    with open_sink(f"video:{tmp_path}/out.mkv", CONTEXT):
        pass
    assert [record.getMessage() for record in caplog.records] == [
        f"video {left} was not finished, its run was killed; look at it or remove it"
    ]
    assert left.read_bytes() == b"film"


def test_a_missing_encoder_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sinks.video._CODECS, ".mp4", "zzzz")
    with (
        pytest.raises(SinkError, match="no encoder 'zzzz' for 64x48"),
        open_sink(f"video:{tmp_path}/out.mp4", CONTEXT) as sink,
    ):
        sink.write(output())
    assert list(tmp_path.iterdir()) == []


def test_a_video_that_cannot_be_played_back_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dumb:
        def __init__(self, path: str, *_: Any) -> None:
            Path(path).write_bytes(b"nothing")

        isOpened = staticmethod(lambda: True)
        write = staticmethod(lambda _: None)
        release = staticmethod(lambda: None)
        fourcc = staticmethod(cv2.VideoWriter.fourcc)

    monkeypatch.setattr(cv2, "VideoWriter", Dumb)
    with pytest.raises(SinkError, match="cannot be played"), open_sink(f"video:{tmp_path}/o.mp4", CONTEXT) as sink:
        sink.write(output())
    assert list(tmp_path.iterdir()) == []


# --- what goes wrong


@pytest.mark.parametrize(
    ("uri", "error", "wanted"),
    [
        ("vidoe:a.mp4", UsageError, "did you mean 'video'"),
        ("out.mp4", UsageError, "did you mean 'video:out.mp4'"),
        ("jsonl:a?masks=png", UsageError, "no form 'png' of masks; it has: none, rle, polygon"),
        ("images:a?old=burn", UsageError, "old of sink images is 'burn'"),
        ("run.jsonl", UsageError, "did you mean 'jsonl:run.jsonl'"),
        ("folder", UsageError, "did you mean 'images:folder'"),
        ("jsonl:", UsageError, "does not say where to"),
        ("images:x?format=gif", UsageError, "has no format 'gif'"),
        ("images:x?fromat=png", UsageError, "did you mean 'format'"),
        ("video:x.mp4?fps=0", UsageError, "above 0"),
        ("video:x.webm", SinkError, ".mkv, .mp4, .avi"),
        ("video:file/x.mp4", SinkError, "file is a file"),
        ("images:file", SinkError, "file is a file"),
        ("jsonl:file/x.jsonl", SinkError, "file is a file"),
        ("jsonl:folder", SinkError, "Is a directory"),
        ("video:folder.mp4", SinkError, "cannot be written"),
        ("jsonl:/proc/none/x.jsonl", SinkError, "cannot be made"),
    ],
)
def test_a_wrong_sink_says_what_is_wanted(
    uri: str, error: type[Exception], wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for name in ("folder", "folder.mp4"):
        (tmp_path / name).mkdir()
    with pytest.raises(error) as caught:
        open_sink(uri, CONTEXT)
    assert wanted in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("word", plugins.names("edgewright.runtime.sinks"))
def test_every_sink_refuses_an_unknown_option(word: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no option 'colour'"):
        plugins.load("edgewright.runtime.sinks", word).from_uri(f"{tmp_path}/x.mp4?colour=yes", CONTEXT)


def test_every_sink_is_closed_when_another_one_fails_to_close(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    class Recorder(Sink):
        def __init__(self, name: str) -> None:
            self.name = name

        def write(self, output: Output) -> None:
            raise SinkError("full")

        def close(self) -> None:
            closed.append(self.name)
            if self.name == "b:":
                raise SinkError("b cannot be closed")

    monkeypatch.setattr(sinks, "open_sink", lambda uri, _: Recorder(uri))
    with pytest.raises(SinkError, match="b cannot be closed"), open_sinks(["a:", "b:", "c:"], CONTEXT) as opened:
        opened[0].write(output())
    assert sorted(closed) == ["a:", "b:", "c:"]
