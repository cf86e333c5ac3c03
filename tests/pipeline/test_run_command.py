"""`edgewright run` as a user calls it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.tiny import blob_image, tiny_bundle

from edgewright.pipeline.cli import main
from edgewright.pipeline.run import summary_line
from edgewright.runtime.errors import SinkError
from edgewright.runtime.loop import RunStatistics
from edgewright.runtime.results import SemanticMap
from edgewright.runtime.sinks import Output, jsonl
from edgewright.runtime.sources import open_source
from edgewright.runtime.timing import STAGES, WAITS

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module", name="folder")
def folder_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that finds blue things, and pictures with one: three readable, one damaged."""
    folder = tmp_path_factory.mktemp("run")
    tiny_bundle(folder)
    (folder / "pictures").mkdir()
    for number in (1, 2, 10):
        cv2.imwrite(str(folder / "pictures" / f"{number}.png"), blob_image())
    (folder / "pictures" / "3.png").write_text("no picture")
    return folder


@pytest.fixture(name="run")
def run_fixture(folder: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(folder)

    def call(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["run", "bundle", "--threads", "1", *words])
        out, err = capfdbinary.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, out.decode(), err.decode()

    return call


def test_tiles_and_suppression_are_recorded_and_every_stage_is_timed(run: Run, tmp_path: Path) -> None:
    words = ("--source", "pictures", "--tiles", "64x64", "--nms", "soft", "--json", str(tmp_path / "run.json"))
    status, _, _ = run(*words, "--sink", f"jsonl:{tmp_path}/run.jsonl")
    assert status == 0
    settings = json.loads((tmp_path / "run.json").read_text())["settings"]
    assert (settings["tiles"], settings["tiles.overlap"], settings["nms"]) == ("64x64", 0.2, "soft")
    for line in (tmp_path / "run.jsonl").read_text().splitlines():
        assert {"prepare", "infer", "finish"} <= set(json.loads(line)["latency_ms"])
        assert json.loads(line)["detections"]


def test_a_folder_is_run_into_all_sinks(run: Run, tmp_path: Path) -> None:
    sinks = (f"jsonl:{tmp_path}/run.jsonl", f"images:{tmp_path}/out?format=png", f"video:{tmp_path}/out.avi")
    status, out, _ = run("--source", "pictures", *(word for uri in sinks for word in ("--sink", uri)))
    assert status == 0
    lines = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert [(line["frame"], Path(line["source"]).name) for line in lines] == [(0, "1.png"), (1, "2.png"), (3, "10.png")]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "10_000003.png",
        "1_000000.png",
        "2_000001.png",
    ]
    assert cv2.VideoCapture(str(tmp_path / "out.avi")).get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert out.startswith("3 frames, 1 skipped")


def test_what_is_drawn_in_the_picture_is_found_where_it_is(run: Run) -> None:
    status, out, err = run("--source", "pictures/1.png", "--sink", "jsonl:-", "--conf", "0.5")
    assert status == 0
    found = json.loads(out)["detections"]
    assert {thing["label"] for thing in found} == {"bolt"}
    # The rectangle that the picture was made with; the cells of the network are 8 pixels of a picture half as large.
    xyxy = np.array([thing["box"] for thing in found])
    centres = (xyxy[:, :2] + xyxy[:, 2:]) / 2
    assert ((centres >= (16, 24)) & (centres <= (56, 64))).all()
    assert "1 frame, 0 skipped" in err
    assert "capture" in err


def test_class_maps_have_no_detections_to_count() -> None:
    statistics = RunStatistics()
    for _ in range(2):
        statistics.count(SemanticMap(np.zeros((4, 6), np.uint8)), {"age": 0.1})
    statistics.seconds = 0.5
    with open_source("synthetic:1:2") as source:
        assert summary_line(source, statistics) == "2 frames, 0 skipped, 4.0 frames/s over 0.5 s"


@pytest.mark.parametrize("loop", ["overlapped", "sequential"])
def test_without_a_sink_the_result_is_the_stage_table(run: Run, loop: str) -> None:
    status, out, err = run("--source", "synthetic:3:8?size=64x96", "--backend", "ort", "--loop", loop)
    assert status == 0
    assert err == ""
    stages = [line.split()[0] for line in out.split("\n\n")[1].splitlines()]
    waits = WAITS if loop == "overlapped" else ()
    passed = ("capture", "prepare", "infer", "finish", "end_to_end", "age", *waits)
    assert stages == ["stage", *(stage for stage in STAGES if stage in passed)]
    assert "leaves out the first 3 frames" in out


def test_the_report_says_what_was_run_how_and_how_fast(run: Run, tmp_path: Path) -> None:
    status, _, _ = run("--source", "pictures", "--conf", "0.4", "--iou", "0.6", "--json", f"{tmp_path}/run.json")
    assert status == 0
    report = json.loads((tmp_path / "run.json").read_text())
    assert (report["verb"], report["frames"], report["skipped"], report["error"]) == ("run", 3, 1, None)
    assert report["bundle"]["digest"] == json.loads(Path("bundle/manifest.json").read_text())["digest"]
    assert (report["settings"]["conf_threshold"], report["settings"]["iou_threshold"]) == (0.4, 0.6)
    assert report["stages"]["infer"]["count"] == 3
    assert (report["dropped"], report["events"], report["settings"]["loop"]) == (0, {}, "overlapped")


def test_a_live_source_may_be_run_frame_by_frame(run: Run, tmp_path: Path) -> None:
    words = ("--source", "synthetic:1:6?size=64x96&fps=200", "--sink", f"jsonl:{tmp_path}/run.jsonl")
    status, out, _ = run(*words, "--frames", "all")
    assert status == 0
    assert out.startswith("6 frames, 0 skipped, ")
    assert "dropped" not in out
    frames = [json.loads(line)["frame"] for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert frames == [0, 1, 2, 3, 4, 5]


def test_a_sink_that_fails_ends_the_run_unless_it_may_drop(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = jsonl.FileSink.write

    def full_at_frame_1(self: jsonl.FileSink, output: Output) -> None:
        if output.frame.index == 1:
            raise SinkError("no space left on device")
        write(self, output)

    monkeypatch.setattr(jsonl.FileSink, "write", full_at_frame_1)
    words = ("--source", "synthetic:1:4?size=64x96", "--json", f"{tmp_path}/run.json")
    status, _, err = run(*words, "--sink", f"jsonl:{tmp_path}/stop.jsonl")
    assert (status, err.splitlines()[-1]) == (2, "error: no space left on device")
    status, out, _ = run(*words, "--sink", f"jsonl:{tmp_path}/drop.jsonl", "--on-sink-error", "drop")
    assert (status, json.loads((tmp_path / "run.json").read_text())["events"]) == (0, {"outputs_lost": 1})
    assert "outputs_lost 1" in out
    frames = [json.loads(line)["frame"] for line in (tmp_path / "drop.jsonl").read_text().splitlines()]
    assert frames == [0, 2, 3]


def test_max_frames_ends_a_source_without_end(run: Run) -> None:
    status, out, _ = run("--source", "synthetic:1?size=64x96", "--max-frames", "2")
    assert status == 0
    assert out.startswith("2 frames, 0 skipped")


def test_what_was_done_before_an_error_is_told_and_kept(run: Run, tmp_path: Path, assets: Path) -> None:
    film = (assets / "videos" / "car-detection.mp4").read_bytes()[:200_000]
    (tmp_path / "cut.mp4").write_bytes(film)
    words = ("--sink", f"video:{tmp_path}/out.mp4", "--json", f"{tmp_path}/run.json")
    status, out, err = run("--source", f"{tmp_path}/cut.mp4", *words)
    assert status == 2
    assert err.splitlines()[-1].startswith(f"error: {tmp_path}/cut.mp4 breaks off after frame ")
    frames = json.loads((tmp_path / "run.json").read_text())["frames"]
    assert out.startswith(f"{frames} frames")
    assert cv2.VideoCapture(f"{tmp_path}/out.mp4").get(cv2.CAP_PROP_FRAME_COUNT) == frames


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("--source", "nowhere"), "nowhere"),
        (("--source", "camera:93"), "/dev/video93"),
        (("--source", "vidoe:x"), "did you mean 'video'"),
        (("--source", "pictures", "--sink", "out.mp4"), "video:out.mp4"),
        (("--source", "pictures", "--sink", "jsnl:x"), "did you mean 'jsonl'"),
        (("--source", "pictures", "--sink", "video:x.mov"), ".mp4, .avi"),
        (("--source", "pictures", "--backend", "orrt"), "did you mean 'ort'"),
        (("--source", "pictures", "--precision", "int8"), "no int8 model"),
        (("--source", "pictures", "--conf", "2"), "--conf"),
        (("--source", "pictures", "--nms", "soft?sigm=1"), "did you mean 'sigma'"),
        (("--source", "pictures", "--tiles", "640"), "--tiles wants height x width"),
        (("--source", "pictures", "--max-frames", "0"), "--max-frames"),
        (("--source", "pictures", "--json", "/proc/none/x.json"), "/proc/none/x.json"),
        ((), "--source"),
    ],
)
def test_a_mistake_exits_2_with_one_sentence(run: Run, words: tuple[str, ...], wanted: str) -> None:
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert wanted in err
    assert err.count("\n") == 1


def test_the_bundle_is_checked_before_the_source(run: Run) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", "no_bundle", "--source", "nowhere"])
    assert caught.value.code == 2


def started(folder: Path, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "edgewright.pipeline.cli", "run", "bundle", "--threads", "1", *words]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("sink", ["images:pictures", "jsonl:pictures/1.png", "video:./film.avi"])
def test_the_source_is_never_written_over(run: Run, sink: str, folder: Path) -> None:
    source = sink.split(":")[1]
    run("--source", "pictures", "--sink", "video:film.avi")
    before = {path: path.stat().st_mtime_ns for path in (*(folder / "pictures").iterdir(), folder / "film.avi")}
    status, _, err = run("--source", source, "--sink", sink)
    assert status == 2
    assert "would write over its source" in err
    assert {path: path.stat().st_mtime_ns for path in (*(folder / "pictures").iterdir(), folder / "film.avi")} == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_live_run_in_order(folder: Path, tmp_path: Path, number: signal.Signals) -> None:
    lines = tmp_path / "run.jsonl"
    words = (
        "--source",
        "synthetic:1?size=64x96&fps=50",
        "--sink",
        f"jsonl:{lines}",
        "--sink",
        f"video:{tmp_path}/o.mkv",
    )
    process = started(folder, *words)
    deadline = time.monotonic() + 60
    while (not lines.exists() or lines.read_text().count("\n") < 5) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    frames = [json.loads(line)["frame"] for line in lines.read_text().splitlines()]
    assert (process.returncode, err) == (0, "")
    # What came while the network was busy is dropped.
    assert frames == sorted(set(frames))
    assert out.startswith(f"{len(frames)} frames")
    assert cv2.VideoCapture(f"{tmp_path}/o.mkv").read()[0]


def test_a_reader_of_stdout_that_goes_away_ends_the_run_in_order(folder: Path) -> None:
    process = started(folder, "--source", "synthetic:1?size=64x96", "--sink", "jsonl:-")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["frame"] == 0
    process.stdout.close()
    assert process.stderr is not None
    assert re.match(r"\d+ frames?, 0 skipped", process.stderr.readline())
    assert "Traceback" not in process.stderr.read()
    assert process.wait(timeout=60) == 0
    process.stderr.close()


def test_the_verb_loads_neither_an_exporter_nor_an_evaluator(folder: Path) -> None:
    code = (
        "import sys\n"
        "from edgewright.pipeline.cli import main\n"
        "try:\n"
        "    main(['run', 'bundle', '--source', 'pictures/1.png', '--threads', '1'])\n"
        "finally:\n"
        "    heavy = {'torch', 'onnx', 'pycocotools', 'openvino', 'faster_coco_eval', 'rich'}\n"
        "    print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env=environment)
    assert done.stderr == "[]\n"
    assert done.returncode == 0


def test_several_sources_run_in_turn_with_sinks_and_figures_of_their_own(run: Run, tmp_path: Path) -> None:
    words = ("--source", "left=pictures", "--source", "right=synthetic:3:5", "--json", str(tmp_path / "run.json"))
    sinks = ("--sink", f"jsonl:{tmp_path}/all.jsonl", "--sink", f"images:{tmp_path}/{{source}}?format=png")
    status, out, _ = run(*words, *sinks)
    assert status == 0
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert [line["source"] for line in lines if line["source"] != "right"] == [
        "left/1.png",
        "left/2.png",
        "left/10.png",
    ]
    assert [line["frame"] for line in lines if line["source"] == "right"] == [0, 1, 2, 3, 4]
    # In turn, as long as both have frames.
    assert [line["source"] == "right" for line in lines[:6]].count(True) == 3
    assert sorted(path.name for path in (tmp_path / "left").iterdir()) == [
        f"left_{stem}.png" for stem in ("10_000003", "1_000000", "2_000001")
    ]
    assert len(list((tmp_path / "right").iterdir())) == 5
    rows = {row["name"]: row for row in json.loads((tmp_path / "run.json").read_text())["sources"]}
    assert [(name, row["frames"], row["skipped"], row["state"]) for name, row in rows.items()] == [
        ("left", 3, 1, "stopped"),
        ("right", 5, 0, "stopped"),
    ]
    assert rows["right"]["age"]["count"] == 5
    assert [line.split()[:3] for line in out.splitlines()[2:5]] == [
        ["source", "state", "frames"],
        ["left", "stopped", "3"],
        ["right", "stopped", "5"],
    ]


def test_files_run_in_streams_and_live_sources_in_one(run: Run, tmp_path: Path) -> None:
    def settings(*words: str) -> dict[str, object]:
        status, _, _ = run(*words, "--json", str(tmp_path / "run.json"), "--threads", "2", "--backend", "ort")
        assert status == 0
        found: dict[str, object] = json.loads((tmp_path / "run.json").read_text())["settings"]
        return found

    assert settings("--source", "pictures")["streams"] == 2
    assert "streams" not in settings("--source", "pictures", "--streams", "1")
    assert "streams" not in settings("--source", "synthetic:1:3?fps=50")
    assert "streams" not in settings("--source", "pictures", "--loop", "sequential")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("--loop", "sequential", "--streams", "2"), "--loop sequential has one frame in hand"),
        (("--tiles", "64x64", "--streams", "2"), "the tiles of a picture go through"),
    ],
)
def test_streams_that_would_not_help_are_refused(run: Run, words: tuple[str, ...], wanted: str) -> None:
    status, _, err = run("--source", "pictures", *words)
    assert status == 2
    assert wanted in err
