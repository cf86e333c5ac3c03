"""The series of files that a rotating sink writes, and the schema of their lines."""

import json
import shutil
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from tests.killed import kill_at_work

from edgewright.runtime.errors import SinkError, UsageError
from edgewright.runtime.results import BoxMask, Detections, Frame, PanopticMap, Result, Segment, SemanticMap
from edgewright.runtime.sinks import Output, SinkContext, open_sink
from edgewright.runtime.sinks._lines import LineFile, RotatingLines, Rotation
from edgewright.runtime.sinks.jsonl import Masks, encoded, record

SCHEMA = Path(__file__).parents[2] / "configs" / "schemas" / "jsonl.schema.json"
CONTEXT = SinkContext(labels=("bolt", "nut"))
BOXES = np.array([[1, 2, 30, 40], [np.nan, 0, 5, 6]], np.float32)


def output(index: int = 0, result: Result | None = None, **meta: float) -> Output:
    frame = Frame(np.zeros((48, 64, 3), np.uint8), index, time.monotonic(), "belt.mp4", meta=dict(meta))
    return Output(frame, result or Detections.empty(), age_s=0.04, latency_s={"infer": 0.04})


def lines_of(path: Path) -> list[int]:
    return [json.loads(line)["frame"] for line in path.read_text().splitlines()]


def written(path: Path) -> dict[str, list[int]]:
    return {file.name: lines_of(file) for file in sorted(path.iterdir())}


# --- schema


def strict(schema: Any) -> Any:
    """The schema with every field that it does not name forbidden."""
    if isinstance(schema, dict):
        closed = {key: strict(value) for key, value in schema.items()}
        return {"additionalProperties": False, **closed} if "properties" in schema else closed
    return [strict(part) for part in schema] if isinstance(schema, list) else schema


RESULTS: dict[str, tuple[Result, Masks]] = {
    "nothing": (Detections.empty(), "none"),
    "boxes": (Detections(BOXES, np.array([0.5, 0.25], np.float32), np.array([1, 9])), "none"),
    "tracks": (
        Detections(BOXES, np.ones(2, np.float32), np.array([0, 1]), track_ids=np.array([7, -1])),
        "none",
    ),
    "semantic": (SemanticMap(np.eye(4, 5, dtype=np.uint8)), "none"),
    "panoptic": (
        PanopticMap(np.eye(4, 5, dtype=np.int32), (Segment(1, 0, True, 0.9), Segment(2, 1, False))),
        "none",
    ),
}
MASKED = Detections(
    BOXES,
    np.ones(2, np.float32),
    np.array([0, 1]),
    (BoxMask((2, 3), np.eye(4, dtype=bool)), BoxMask((0, 0), np.zeros((0, 0), bool))),
)
RESULTS |= {"runs": (MASKED, "rle"), "polygons": (MASKED, "polygon")}


@pytest.mark.parametrize("name", RESULTS)
def test_every_line_is_as_the_schema_says_and_has_no_field_besides(name: str) -> None:
    result, masks = RESULTS[name]
    line = json.loads(encoded(record(output(3, result, pos_msec=120.0), ("bolt", "nut"), masks=masks)))
    jsonschema.Draft202012Validator(strict(json.loads(SCHEMA.read_text()))).validate(line)


@pytest.mark.parametrize(
    "change",
    [{"frame": "1"}, {"utc": "yesterday"}, {"detections": [{"box": [1, 2, 3]}]}, {"latency_ms": {"infer": "long"}}],
)
def test_the_schema_refuses_what_is_no_line(change: dict[str, Any]) -> None:
    line = record(output(), ("bolt",)) | change
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(line)


def test_the_wall_clock_says_when_the_frame_was_captured() -> None:
    late = output()
    time.sleep(0.05)
    before = time.time() - 0.05
    said = datetime.strptime(record(late, ())["utc"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    assert abs(said.timestamp() - before) < 1


# --- rotation


def test_a_full_file_becomes_a_numbered_one_and_the_newest_stay(tmp_path: Path) -> None:
    size = len(encoded(record(output(), CONTEXT.labels)))
    with open_sink(f"jsonl:{tmp_path}/run.jsonl?size={2.5 * size / 1e6}&keep=3", CONTEXT) as sink:
        for index in range(11):
            sink.write(output(index))
    assert written(tmp_path) == {
        "run.000003.jsonl": [4, 5], "run.000004.jsonl": [6, 7], "run.000005.jsonl": [8, 9], "run.jsonl": [10],
    }  # fmt: skip


def test_a_file_ends_when_it_is_old_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    with open_sink(f"jsonl:{tmp_path}/run.jsonl?every=1h", CONTEXT) as sink:
        monkeypatch.setattr("edgewright.runtime.sinks._lines.time.monotonic", lambda: now[0])
        for index in range(6):
            sink.write(output(index))
            now[0] += 1500.0
    assert written(tmp_path) == {"run.000001.jsonl": [0, 1, 2], "run.jsonl": [3, 4, 5]}


def test_what_an_earlier_run_left_is_put_away_in_whole_lines(tmp_path: Path) -> None:
    left = encoded(record(output(8), ())) + encoded(record(output(9), ()))[:-20]
    (tmp_path / "run.jsonl").write_bytes(left)
    with open_sink(f"jsonl:{tmp_path}/run.jsonl?size=1", CONTEXT) as sink:
        sink.write(output(0))
    assert written(tmp_path) == {"run.000001.jsonl": [8], "run.jsonl": [0]}


def test_a_run_that_fails_before_its_first_line_leaves_no_empty_file(tmp_path: Path) -> None:
    for options in ("", "?size=1"):
        with pytest.raises(RuntimeError), open_sink(f"jsonl:{tmp_path}/run.jsonl{options}", CONTEXT):
            raise RuntimeError("the camera is unplugged")
        assert written(tmp_path) == {}


def test_a_killed_process_leaves_whole_lines_and_the_next_one_goes_on(tmp_path: Path) -> None:
    code = f"""
import os, signal
from tests.runtime.test_jsonl_files import *
sink = open_sink("jsonl:{tmp_path}/run.jsonl?size=0.001&keep=1000", CONTEXT)
for index in range(10**9):
    sink.write(output(index))
    if index == 300:
        print("go", flush=True)
"""
    kill_at_work(code)
    with open_sink(f"jsonl:{tmp_path}/run.jsonl?size=0.001&keep=1000", CONTEXT) as sink:
        sink.write(output(0))
    numbers = [number for lines in written(tmp_path).values() for number in lines]
    assert numbers[-1] == 0
    assert numbers[:-1] == list(range(len(numbers) - 1))
    assert len(numbers) > 300


def test_a_folder_that_goes_away_is_an_error_and_when_it_is_back_the_series_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    lines = RotatingLines(folder / "run.jsonl", Rotation(most_bytes=4, most_s=1e9, keep=9))
    lines.append(b"1\n")
    lines.append(b"2\n")
    folder.rename(tmp_path / "away")
    with pytest.raises(SinkError, match="cannot be put away: No such file"):
        lines.append(b"3\n")
    folder.mkdir()
    lines.append(b"4\n")
    lines.close()
    assert (folder / "run.jsonl").read_bytes() == b"4\n"


def test_a_file_that_is_removed_is_begun_anew_when_there_is_a_folder_again(tmp_path: Path) -> None:
    path = tmp_path / "log" / "run.jsonl"
    with open_sink(f"jsonl:{path}", CONTEXT) as sink:
        sink.write(output(0))
        shutil.rmtree(path.parent)
        for reason in ("was removed while it was written, with .* bytes", "cannot be written: No such file"):
            with pytest.raises(SinkError, match=reason):
                sink.write(output(1))
        path.parent.mkdir()
        sink.write(output(2))
    assert lines_of(path) == [2]


def test_a_long_last_line_without_end_is_found_and_cut(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"1\n" + b"x" * 200_000)
    RotatingLines(path, Rotation(1e9, 1e9, 5)).close()
    assert (tmp_path / "run.000001.jsonl").read_bytes() == b"1\n"


def test_only_whole_pieces_stay_in_a_file(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "a")
    file.append(b"12\n")
    file.close(sync=True)
    file.close()
    assert (tmp_path / "a").read_bytes() == b"12\n"


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("jsonl:-?size=3", "standard output does not rotate; leave size out"),
        ("jsonl:a?size=0", "size of sink jsonl must be a number above 0"),
        ("jsonl:a?every=tomorrow", "every of sink jsonl must be a time such as 90s, 15m, 24h or 7d"),
        ("jsonl:a?keep=3", "keep of sink jsonl says how many full files stay; say when one is full: size=100"),
        ("jsonl:a?size=1&keep=0", "keep of sink jsonl must be a number from 1"),
        ("jsonl:/dev/null?size=1", "/dev/null is no file, and only files rotate"),
    ],
)
def test_bad_words_are_refused(address: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((UsageError, SinkError), match=sentence):
        open_sink(address, CONTEXT)
    assert list(tmp_path.iterdir()) == []
