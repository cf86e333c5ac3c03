"""Objects keep their number from frame to frame."""

import platform
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright.runtime import plugins, tracking
from edgewright.runtime.errors import MissingDependencyError, UsageError
from edgewright.runtime.results import BoxMask, Detections, Frame, Image, SemanticMap
from edgewright.runtime.steps import Step, StepContext, open_step

TRACKERS = plugins.names("edgewright.runtime.tracking")
CONTEXT = StepContext(("bolt", "nut"), conf_threshold=0.4, fps=20.0)
IMAGE = np.random.default_rng(5).integers(0, 255, (200, 400, 3), np.uint8)


def frame(index: int, source: str = "belt.mp4", time_s: float = 0.0, **meta: float) -> Frame:
    image: Image = IMAGE
    return Frame(image, index, time_s, source, meta=dict(meta))


def things(*boxes: tuple[float, float, float, float], score: float = 0.9, classes: Any = None) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(count, score, np.float32),
        np.zeros(count, np.int64) if classes is None else np.array(classes),
    )


def two_passing(index: int) -> Detections:
    """One thing goes to the right, the other below it to the left; their order changes in every frame."""
    boxes = [(10 + 6 * index, 20, 50 + 6 * index, 70), (340 - 6 * index, 110, 380 - 6 * index, 160)]
    return things(*(boxes if index % 2 else boxes[::-1]))


def tracks(step: Step, found: Detections, seen: Frame) -> list[int]:
    _, result = step(seen, found)
    assert isinstance(result, Detections)
    assert result.track_ids is not None
    return [int(track) for track in result.track_ids]


@pytest.fixture(params=TRACKERS)
def step(request: pytest.FixtureRequest) -> Step:
    pytest.importorskip("trackers")
    return open_step("track", request.param, CONTEXT)


def test_two_things_that_pass_each_other_keep_their_numbers(step: Step) -> None:
    seen: dict[str, set[int]] = {"right": set(), "left": set()}
    for index in range(40):
        ids = tracks(step, two_passing(index), frame(index))
        for name, track in zip(("right", "left") if index % 2 else ("left", "right"), ids, strict=True):
            seen[name].add(track)
    for numbers in seen.values():
        assert len(numbers - {-1}) == 1
    assert seen["right"] - {-1} != seen["left"] - {-1}
    assert min(min(numbers - {-1}) for numbers in seen.values()) == 1


def test_a_frame_without_objects_and_a_short_gap_end_no_track(step: Step) -> None:
    before: list[list[int]] = []
    after: list[list[int]] = []
    for index in range(30):
        if 12 <= index < 16:
            assert tracks(step, Detections.empty(), frame(index)) == []
            continue
        ids = tracks(step, two_passing(index), frame(index))
        (before if index < 12 else after).append(sorted(ids))
    assert before[-1] == after[-1]
    assert min(before[-1]) >= 1


def test_after_a_long_gap_things_are_new_ones(step: Step) -> None:
    for index in range(10):
        first = tracks(step, two_passing(0), frame(index))
    for index in range(200, 210):
        later = tracks(step, two_passing(0), frame(index))
    assert min(first) >= 1
    assert min(later) > max(first)


def test_every_camera_has_its_own_tracks(step: Step) -> None:
    """The same things at the same places, and at the right camera another one besides."""
    for index in range(10):
        left = tracks(step, things((10, 10, 60, 60)), frame(index, "left"))
        right = tracks(step, things((10, 10, 60, 60), (200, 10, 260, 60)), frame(index, "right"))
    assert left == [1]
    assert right == [1, 2]


def test_a_film_that_begins_anew_gets_numbers_that_were_not_given(step: Step) -> None:
    for index in range(10):
        first = tracks(step, things((10, 10, 60, 60)), frame(index, pos_msec=50.0 * index))
    for index in range(10):
        again = tracks(step, things((10, 10, 60, 60)), frame(10 + index, pos_msec=50.0 * index))
    assert (first, again) == ([1], [2])


def test_masks_and_all_other_fields_stay_with_their_object(step: Step) -> None:
    masks = (BoxMask((1, 1), np.ones((2, 2), bool)), BoxMask((5, 5), np.ones((3, 3), bool)))
    found = replace(two_passing(3), masks=masks)
    _, result = step(frame(0), found)
    assert isinstance(result, Detections)
    assert result.masks is masks
    assert result.boxes_xyxy is found.boxes_xyxy


def test_a_box_that_is_no_number_has_no_track(step: Step) -> None:
    for index in range(10):
        ids = tracks(step, things((np.nan, 0, 5, 5), (10, 10, 60, 60), (0, 0, np.inf, 5)), frame(index))
    assert ids == [-1, 1, -1]


def test_pictures_of_one_folder_are_one_film() -> None:
    pytest.importorskip("trackers")
    step = open_step("track", "sort?frames=1", CONTEXT)
    ids = [tracks(step, things((10, 10, 60, 60)), frame(index, f"/walk/{index}.jpg"))[0] for index in range(5)]
    assert set(ids[1:]) == {1}


def test_unsure_objects_go_on_with_a_track_and_begin_none() -> None:
    pytest.importorskip("trackers")
    step = open_step("track", "bytetrack?low=0.05", CONTEXT)
    assert step.least_score == 0.05
    boxes = ((10, 10, 60, 60), (200, 10, 260, 60))
    for index in range(8):
        scores = np.array([0.9 if index < 4 else 0.1, 0.1], np.float32)
        ids = tracks(step, replace(things(*boxes), scores=scores), frame(index))
    assert ids == [1, -1]
    assert open_step("track", "sort", CONTEXT).least_score is None


def test_classes_apart_do_not_take_each_others_tracks() -> None:
    pytest.importorskip("trackers")
    numbers = {}
    for classes in ("together", "apart"):
        step = open_step("track", f"bytetrack?classes={classes}", CONTEXT)
        for index in range(8):
            ids = tracks(step, things((10, 10, 60, 60), classes=[0 if index < 4 else 1]), frame(index))
        numbers[classes] = ids
    assert numbers == {"together": [1], "apart": [2]}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("bytetrak", r"there is no tracker 'bytetrak' \(did you mean 'bytetrack'\?\)"),
        ("sort?lots=2", r"--track has no option 'lots' \(did you mean 'lost'\?\)"),
        ("sort?lost=-1", "option lost of --track, in seconds, must be a number from 0 to 3600, got '-1'"),
        ("sort?classes=apat", "is 'apat' .did you mean 'apart'"),
    ],
)
def test_bad_words_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        open_step("track", text, CONTEXT)


def test_maps_have_nothing_to_follow() -> None:
    with pytest.raises(UsageError, match="a semantic network finds none; leave it out"):
        open_step("track", "sort", StepContext(("sky",), task="semantic"))
    pytest.importorskip("trackers")
    with pytest.raises(UsageError, match="map of pixels"):
        open_step("track", "sort", CONTEXT)(frame(0), SemanticMap(np.zeros((200, 400), np.uint8)))


@pytest.mark.parametrize(
    ("machine", "advice"),
    [("x86_64", r"pip install 'edgewright\[tracking\]'"), ("aarch64", "pip install --no-deps trackers supervision")],
)
def test_a_missing_package_is_named_and_never_brings_another_opencv_to_a_board(
    monkeypatch: pytest.MonkeyPatch, machine: str, advice: str
) -> None:
    monkeypatch.setitem(sys.modules, "trackers", None)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(MissingDependencyError, match=advice):
        open_step("track", "sort", CONTEXT)


def test_the_extra_brings_no_opencv_to_a_board_that_has_its_own() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no TOML reader of its own")
    markers = pytest.importorskip("packaging.requirements")
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    for wanted in map(markers.Requirement, project["optional-dependencies"]["tracking"]):
        assert wanted.marker is not None
        assert wanted.marker.evaluate({"platform_machine": "x86_64"})
        assert not wanted.marker.evaluate({"platform_machine": "aarch64"})


def test_every_tracker_says_what_it_is() -> None:
    assert {"bytetrack", "sort", "ocsort", "botsort"} <= set(TRACKERS)
    for name in TRACKERS:
        text = (Path(tracking.__file__).parent / f"{name}.py").read_text()
        assert "arXiv" in text
