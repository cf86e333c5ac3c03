"""A run is recorded, and another bundle is run on what it saw."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.killed import kill_at_work
from tests.planted import planted, without_class
from tests.tiny import blob_image, tiny_bundle

from edgewright.pipeline.cli import main
from edgewright.pipeline.comparison import Comparison
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import SinkError, SourceError
from edgewright.runtime.recording import Recording, encoded_map
from edgewright.runtime.results import BoxMask, Detections, Frame, Image, PanopticMap, Result, Segment, SemanticMap
from edgewright.runtime.sinks import Output, SinkContext, open_sink
from edgewright.runtime.sinks._lines import LineFile
from edgewright.runtime.sources import open_source

Verb = Callable[..., tuple[int, str, str]]
ABOUT = {"bundle": {"name": "tiny", "digest": "d" * 64, "task": "detect"}, "settings": {"backend": "ort"}, "asked": {}}
CONTEXT = SinkContext(("bolt", "nut"), source="belt", fps=10.0, about=ABOUT)
NOISE = np.random.default_rng(2).integers(0, 256, (48, 64, 3)).astype(np.uint8)


@pytest.fixture(scope="module", name="good")
def good_fixture(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="module", name="film")
def film_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bolt that moves, and a nut that comes after four frames."""
    folder = tmp_path_factory.mktemp("film")
    for number in range(12):
        image = blob_image((96, 160), (16 + 2 * number, 24, 56 + 2 * number, 64))
        if number >= 4:
            image[10:40, 110:150] = (250, 250, 20)
        cv2.imwrite(str(folder / f"{number:02d}.png"), image)
    return folder


@pytest.fixture(name="verb")
def verb_fixture(capsys: pytest.CaptureFixture[str]) -> Verb:
    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([*map(str, words)])
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return run


def output(index: int, result: Result, *, image: Image = NOISE, time_s: float | None = None) -> Output:
    frame = Frame(image, index, 100 + index / 10 if time_s is None else time_s, "belt")
    return Output(frame, result, 0.01, {"infer": 0.005})


def things(count: int) -> Detections:
    boxes = np.arange(4 * count, dtype=np.float32).reshape(count, 4) + np.array([0, 0, 9, 9], np.float32)
    return Detections(boxes, np.linspace(0.5, 0.9, count, dtype=np.float32), np.arange(count) % 2)


def recorded(folder: Path, count: int = 6, options: str = "") -> None:
    with open_sink(f"record:{folder}{options}", CONTEXT) as sink:
        for index in range(count):
            sink.write(output(index, things(index)))


# --- the folder


def test_frames_and_results_come_back_with_their_numbers_and_times(tmp_path: Path) -> None:
    recorded(tmp_path / "r", options="?format=png")
    entries = list(Recording(tmp_path / "r"))
    assert [entry.index for entry in entries] == list(range(6))
    assert [entry.position_s for entry in entries] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    for entry in entries:
        assert entry.image is not None
        assert (entry.image == NOISE).all()
        assert isinstance(entry.result, Detections)
        assert (entry.result.boxes_xyxy == things(entry.index).boxes_xyxy).all()
        assert entry.result.scores == pytest.approx(things(entry.index).scores, abs=5e-5)


def test_masks_and_tracks_come_back(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).random((7, 5)) > 0.5
    masks = (BoxMask((3, 4), pixels), BoxMask((60, 40), np.ones((8, 4), bool)), BoxMask((0, 0), np.zeros((0, 0), bool)))
    found = replace(things(3), masks=masks, track_ids=np.array([5, -1, 7]))
    with open_sink(f"record:{tmp_path}/r", CONTEXT) as sink:
        sink.write(output(0, found))
    (entry,) = Recording(tmp_path / "r")
    assert isinstance(entry.result, Detections)
    assert entry.result.masks is not None
    assert entry.result.track_ids is not None
    assert entry.result.track_ids.tolist() == [5, -1, 7]
    for before, after in zip(masks, entry.result.masks, strict=True):
        assert (before.paste((48, 64)) == after.paste((48, 64))).all()


@pytest.mark.parametrize("most", [3, 300])
def test_maps_come_back_to_the_pixel(tmp_path: Path, most: int) -> None:
    ids = np.random.default_rng(1).integers(0, most, (48, 64))
    semantic = SemanticMap(ids.astype(np.int64))
    segment_ids = np.choose(ids % 3, (0, 1, 70_000)).astype(np.int32)
    panoptic = PanopticMap(segment_ids, (Segment(1, 0, True, 0.5), Segment(70_000, 1, False)))
    with open_sink(f"record:{tmp_path}/r", CONTEXT) as sink:
        sink.write(output(0, semantic))
        sink.write(output(1, panoptic))
    first, second = (entry.result for entry in Recording(tmp_path / "r"))
    assert isinstance(first, SemanticMap)
    assert (first.class_ids == ids).all()
    assert isinstance(second, PanopticMap)
    assert (second.segment_ids == panoptic.segment_ids).all()
    assert second.segments == panoptic.segments
    assert encoded_map(things(1)) is None


def test_old_parts_go_when_there_are_too_many(tmp_path: Path) -> None:
    recorded(tmp_path / "r", count=30, options="?format=png&part=0.03&parts=3")
    names = sorted(path.name for path in (tmp_path / "r").iterdir())
    assert len(names) == 6
    assert {name.partition(".")[2] for name in names} == {"jsonl", "mpng"}
    numbers = [entry.index for entry in Recording(tmp_path / "r")]
    assert numbers == list(range(numbers[0], 30))
    assert numbers[0] > 20


def test_the_pictures_of_a_part_are_a_film_for_other_tools(tmp_path: Path) -> None:
    recorded(tmp_path / "r")
    reader = cv2.VideoCapture(str(tmp_path / "r" / "000001.mjpeg"))
    count = 0
    while reader.read()[0]:
        count += 1
    assert count == 6


@pytest.mark.parametrize("broken", ["line", "picture", "bytes"])
def test_what_a_killed_run_has_written_is_read_to_its_last_whole_frame(tmp_path: Path, broken: str) -> None:
    recorded(tmp_path / "r")
    lines, pictures = tmp_path / "r" / "000001.jsonl", tmp_path / "r" / "000001.mjpeg"
    if broken == "line":
        os.truncate(lines, lines.stat().st_size - 9)
    elif broken == "picture":
        os.truncate(pictures, pictures.stat().st_size - 9)
    else:
        place = json.loads(lines.read_text().splitlines()[-1])["picture"]
        with pictures.open("r+b") as file:
            file.seek(place[0])
            file.write(b"\0" * place[1])
    source = open_source(f"replay:{tmp_path}/r")
    assert [frame.index for frame in source] == [0, 1, 2, 3, 4]
    assert source.skipped == 1


def test_a_recording_that_was_killed_can_be_replayed_to_its_last_frame(tmp_path: Path) -> None:
    code = f"""
from tests.pipeline.test_replay import *
sink = open_sink("record:{tmp_path}/r?part=0.05&parts=1000", CONTEXT)
for index in range(10**9):
    sink.write(output(index, things(index % 5)))
    if index == 60:
        print("go", flush=True)
"""
    kill_at_work(code)
    source = open_source(f"replay:{tmp_path}/r")
    numbers = [frame.index for frame in source]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= 60
    assert source.skipped <= 1
    assert len(list((tmp_path / "r").glob("*.mjpeg"))) > 2


def test_parts_that_were_removed_or_did_not_fit_leave_a_recording_that_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "r"
    with open_sink(f"record:{folder}", CONTEXT) as sink:
        sink.write(output(0, things(1)))
        shutil.rmtree(folder)
        with pytest.raises(SinkError, match="was removed while it was recorded; the next frame begins a new part"):
            sink.write(output(1, things(1)))
        folder.mkdir()
        sink.write(output(2, things(1)))
    assert [entry.index for entry in Recording(folder)] == [2]
    with open_sink(f"record:{folder}?old=keep", CONTEXT) as sink:
        with monkeypatch.context() as full:
            full.setattr(LineFile, "append", refuse)
            with pytest.raises(SinkError, match="the disk is full"):
                sink.write(output(3, things(1)))
        assert len(list(folder.glob("*.jsonl"))) == 1
        sink.write(output(4, things(1)))
    (folder / "000099.jsonl").write_bytes(b'{"recor')
    assert [entry.index for entry in Recording(folder)] == [2, 4]


def refuse(self: LineFile, line: bytes) -> None:
    raise SinkError("the disk is full")


def test_two_runs_in_one_folder_follow_each_other_also_after_a_restart_of_the_machine(tmp_path: Path) -> None:
    recorded(tmp_path / "r")
    with open_sink(f"record:{tmp_path}/r?old=keep", CONTEXT) as sink:
        sink.write(output(0, things(1), time_s=3.0))
    assert [entry.position_s for entry in Recording(tmp_path / "r")][-2:] == pytest.approx([0.5, 0.6])


def test_a_recording_is_neither_mixed_nor_lost_unasked(tmp_path: Path, verb: Verb, good: Bundle, film: Path) -> None:
    words = ("run", good.path, "--threads", 1, "--source", film, "--sink")
    assert verb(*words, f"record:{tmp_path}/r")[0] == 0
    status, _, err = verb(*words, f"record:{tmp_path}/r")
    assert status == 2
    assert "holds a recording (1 parts)" in err
    assert verb(*words, f"record:{tmp_path}/r?old=delete")[0] == 0
    assert len(list(Recording(tmp_path / "r"))) == 12


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("?format=gif", "option format of sink record is 'gif'"),
        ("?format=png&quality=90", "PNG keeps every pixel"),
        ("?quality=0", "quality of sink record must be a number from 1 to 100, got '0'"),
        ("?parts=1", "parts of sink record must be a number from 2"),
        ("?keep=3", "sink record has no option 'keep'"),
    ],
)
def test_bad_words_are_refused(
    options: str, sentence: str, verb: Verb, good: Bundle, film: Path, tmp_path: Path
) -> None:
    status, _, err = verb("run", good.path, "--source", film, "--sink", f"record:{tmp_path}/r{options}")
    assert status == 2
    assert sentence in err
    assert "Traceback" not in err
    assert not (tmp_path / "r").exists()


def test_what_is_no_recording_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"is no recording: there is no 000001.jsonl"):
        open_source(f"replay:{tmp_path}")
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        open_source(f"replay:{tmp_path}/nowhere")
    (tmp_path / "000001.jsonl").write_text("{}\n")
    with pytest.raises(SourceError, match="does not begin as a part of a recording does"):
        open_source(f"replay:{tmp_path}")


# --- replayed and compared


def test_a_replayed_run_finds_the_same_and_keeps_the_recorded_times(
    verb: Verb, good: Bundle, film: Path, tmp_path: Path
) -> None:
    run = ("run", good.path, "--threads", 1)
    first, again = tmp_path / "first.jsonl", tmp_path / "again.jsonl"
    assert verb(*run, "--source", film, "--sink", f"jsonl:{first}", "--sink", f"record:{tmp_path}/r?format=png")[0] == 0
    assert verb(*run, "--source", f"replay:{tmp_path}/r", "--sink", f"jsonl:{again}")[0] == 0
    a, b = ([json.loads(line) for line in path.read_text().splitlines()] for path in (first, again))
    assert [line["detections"] for line in a] == [line["detections"] for line in b]
    assert [(line["frame"], line["source"]) for line in a] == [(line["frame"], line["source"]) for line in b]
    # Pictures have no time of their own; they are a film of 30 a second for a tracker, and so they stay.
    assert [line["media_time_s"] for line in b] == pytest.approx([line["frame"] / 30 for line in a], abs=2e-6)


def test_of_a_camera_the_moments_of_capture_are_kept_and_of_a_film_its_own_time(tmp_path: Path) -> None:
    with open_sink(f"record:{tmp_path}/live", replace(CONTEXT, live=True)) as sink:
        for index, time_s in enumerate((50.0, 50.25, 50.5, 51.5)):
            sink.write(output(3 * index, things(1), time_s=time_s))
    with open_sink(f"record:{tmp_path}/film", CONTEXT) as sink:
        for index in range(4):
            written = output(index, things(1), time_s=50.0)
            sink.write(replace(written, frame=replace(written.frame, meta={"pos_msec": 40.0 * index})))
    live, film = (Recording(tmp_path / name) for name in ("live", "film"))
    assert [entry.position_s for entry in live] == pytest.approx([0, 0.25, 0.5, 1.5])
    assert [entry.position_s for entry in film] == pytest.approx([0, 0.04, 0.08, 0.12])
    # Two of three frames of the camera were dropped.
    assert live.fps == pytest.approx(4)
    assert open_source(f"replay:{tmp_path}/film").fps == pytest.approx(25)


def test_a_paced_replay_takes_as_long_as_the_run_did(tmp_path: Path) -> None:
    recorded(tmp_path / "r", count=4)
    source = open_source(f"replay:{tmp_path}/r?speed=1")
    assert source.live
    times = [frame.time_s for frame in source]
    assert times[-1] - times[0] >= 0.29


def test_a_bundle_agrees_with_its_own_recorded_run(verb: Verb, good: Bundle, film: Path, tmp_path: Path) -> None:
    words = ("--threads", 1, "--conf", 0.4, "--source", film, "--sink", f"record:{tmp_path}/r?format=png")
    assert verb("run", good.path, *words)[0] == 0
    status, out, err = verb("compare", f"recording:{tmp_path}/r", good.path, "--max-lost", 0, "--max-new", 0)
    assert (status, err) == (0, "")
    assert "holds: lost 0, at most 0 may be" in out
    assert "B runs as the recorded run did: --conf 0.4" in out
    assert "first stage" not in out


def test_lost_objects_and_lost_tracks_are_told_and_limited(
    verb: Verb, good: Bundle, film: Path, tmp_path: Path
) -> None:
    pytest.importorskip("trackers")
    blind = planted(good, tmp_path / "blind", edit=without_class(1, output="scores"))
    run = ("run", good.path, "--threads", 1, "--source", film, "--track", "bytetrack?frames=1&iou=0.05")
    assert verb(*run, "--sink", f"record:{tmp_path}/r")[0] == 0
    report = tmp_path / "report.json"
    page = tmp_path / "page.html"
    status, out, _ = verb(
        "compare", f"recording:{tmp_path}/r", blind.path, "--max-lost", 0.1, "--json", report, "--html", page
    )
    assert status == 1
    found = Comparison.model_validate(json.loads(report.read_text()))
    assert found.tracks is not None
    assert {track.label for track in found.tracks.lost} == {"nut"}
    nut = found.tracks.lost[0]
    assert (nut.first, nut.last, nut.also) == (5, 11, 0) or (nut.first, nut.last, nut.also) == (4, 11, 0)
    assert "lost: nut #" in out
    # The tracker saw less sure objects than that; they are not what the run reported.
    assert not any("the least score is" in note for note in found.notes)
    assert "EXCEEDED: lost" in out
    assert "a recording keeps no tensors, so no first stage that differs is sought" in out
    assert "lost: nut #" in page.read_text()
    status, out, _ = verb("compare", good.path, blind.path, "--frames", f"replay:{tmp_path}/r", "--max-lost", 0.1)
    assert status == 1
    assert "never scores above 0 in B" in out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("recording:nowhere",), "recording nowhere cannot be read"),
        (("recording:", "--frames", "x"), "brings its own frames; leave --frames x out"),
        (("recording:x", "--backend-a", "ov"), "recording:x was recorded and is not run again; leave --backend-a out"),
        ((".",), "say --frames SOURCE"),
    ],
)
def test_a_comparison_needs_a_recording_or_frames(
    words: tuple[str, ...], sentence: str, verb: Verb, good: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = verb("compare", words[0], good.path, *words[1:])
    assert (status, out) == (2, "")
    assert sentence in err
