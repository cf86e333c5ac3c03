"""The sinks of a run of several sources."""

import json
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.runtime.test_loop import Belt

from edgewright.runtime.errors import UsageError
from edgewright.runtime.results import Detections, Frame
from edgewright.runtime.sinks import Output, SinkContext
from edgewright.runtime.sinks._by_source import open_run_sinks
from edgewright.runtime.sources import Source

CONTEXT = SinkContext(("bolt",), "a, b")


def output(origin: str, index: int) -> Output:
    image = np.full((48, 64, 3), 50, np.uint8)
    return Output(Frame(image, index, 0.0, origin, origin=origin), Detections.empty(), 0.0, {}, image)


def two() -> Mapping[str, Source]:
    return {"a": Belt(1), "b": Belt(1)}


def test_a_place_for_the_name_gives_each_source_a_sink_of_its_own(tmp_path: Path) -> None:
    uris = [f"jsonl:{tmp_path}/{{source}}/run.jsonl", f"jsonl:{tmp_path}/all.jsonl", f"video:{tmp_path}/{{source}}.avi"]
    with open_run_sinks(uris, CONTEXT, two(), lenient=False) as sinks:
        assert [sink.wants_picture for sink in sinks] == [False, False, True]
        for index in range(3):
            for sink in sinks:
                sink.write(output("ab"[index % 2], index))
    lines = {
        name: [json.loads(line)["frame"] for line in (tmp_path / name).read_text().splitlines()]
        for name in ("a/run.jsonl", "b/run.jsonl", "all.jsonl")
    }
    assert lines == {"a/run.jsonl": [0, 2], "b/run.jsonl": [1], "all.jsonl": [0, 1, 2]}
    films = [cv2.VideoCapture(str(tmp_path / f"{name}.avi")).get(cv2.CAP_PROP_FRAME_COUNT) for name in "ab"]
    assert films == [2, 1]


def test_one_film_of_several_sources_is_refused_with_what_to_say(tmp_path: Path) -> None:
    wanted = r"would mix 2 sources; put \{source\} into its location, so that each gets its own"
    with (
        pytest.raises(UsageError, match=wanted),
        open_run_sinks([f"video:{tmp_path}/out.mp4?fps=5"], CONTEXT, two(), lenient=False),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_pictures_of_several_sources_have_names_of_their_own(tmp_path: Path) -> None:
    with open_run_sinks([f"images:{tmp_path}?format=png"], CONTEXT, two(), lenient=False) as (sink,):
        for name in "ab":
            sink.write(output(name, 4))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a_000004.png", "b_000004.png"]


def test_no_source_is_written_over(tmp_path: Path) -> None:
    film = tmp_path / "b.mp4"
    film.write_bytes(b"a film")
    sources = two()
    sources["b"].name = str(film)
    with (
        pytest.raises(UsageError, match="would write over its source"),
        open_run_sinks([f"jsonl:{film}"], CONTEXT, sources, lenient=False),
    ):
        pass
    assert film.read_bytes() == b"a film"


def test_what_one_source_loses_is_counted_and_the_others_are_written(tmp_path: Path) -> None:
    with open_run_sinks([f"images:{tmp_path}/{{source}}"], CONTEXT, two(), lenient=True) as sinks:
        (tmp_path / "a").rmdir()
        for name in "abab":
            sinks[0].write(output(name, 0))
        assert sinks[0].lost == 2
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["b_000000.jpg"]


def test_in_a_run_of_one_source_the_place_is_its_name_too(tmp_path: Path) -> None:
    belt = Belt(1)
    belt.name = "clips/street.mp4"
    with open_run_sinks([f"jsonl:{tmp_path}/{{source}}.jsonl"], CONTEXT, {"": belt}, lenient=False) as (sink,):
        sink.write(output("", 0))
    assert (tmp_path / "street.jsonl").exists()
