"""Objects that nobody is to recognize."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from edgewright.runtime.covering import Area, cover
from edgewright.runtime.errors import UsageError
from edgewright.runtime.results import BoxMask, Detections, Frame, Image, PanopticMap, Result, Segment, SemanticMap
from edgewright.runtime.steps import Step, StepContext, open_step

LABELS = ("person", "car", "stop sign")
CONTEXT = StepContext(LABELS, task="instance", conf_threshold=0.5)
NOISE = np.random.default_rng(3).integers(0, 256, (120, 160, 3)).astype(np.uint8)


def seen(result: Result, text: str, *, context: StepContext = CONTEXT) -> Image:
    """The picture behind `--blur text`; the one in front of it stays as it was."""
    before = NOISE.copy()
    frame = Frame(before, 0, 0.0, "hall.mp4")
    after, same = open_step("blur", text, context)(frame, result)
    assert same is result
    assert (before == NOISE).all()
    return after.image


def changed(image: Image) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    return np.asarray((image != NOISE).any(axis=2))


def found(*classes: int, box: tuple[float, float, float, float] = (20, 30, 80, 90), score: float = 0.9) -> Detections:
    boxes = np.array([box] * len(classes), np.float32).reshape(-1, 4)
    return Detections(boxes, np.full(len(classes), score, np.float32), np.array(classes, np.int64))


def test_the_box_and_its_padding_are_covered_and_nothing_else() -> None:
    there = changed(seen(found(0), "person?pad=0.1"))
    rows, columns = np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (24, 95, 14, 85)
    assert there[24:96, 14:86].mean() > 0.98


@pytest.mark.parametrize("text", ["car", "stop_sign", "CAR, Stop-Sign"])
def test_other_classes_stay_as_they_are_in_the_very_same_frame(text: str) -> None:
    frame = Frame(NOISE, 0, 0.0, "hall.mp4")
    assert open_step("blur", text, CONTEXT)(frame, found(0))[0] is frame
    assert changed(seen(found(0, 2), "all")).any()


@pytest.mark.parametrize(("method", "colors"), [("pixelate", 36), ("solid", 1)])
def test_what_is_left_are_a_few_mean_colours(method: str, colors: int) -> None:
    """Everything that an attacker can know of 60 x 60 pixels are 36 means, whatever the resolution."""
    image = seen(found(0), f"person?pad=0&method={method}")
    inside = image[30:90, 20:80]
    assert len(np.unique(inside.reshape(-1, 3), axis=0)) == colors
    if method == "pixelate":
        means = NOISE[30:90, 20:80].reshape(6, 10, 6, 10, 3).mean(axis=(1, 3))
        assert np.abs(inside[5::10, 5::10] - means).max() <= 0.51


def test_smooth_holds_no_more_than_the_squares_it_is_made_of() -> None:
    inside = seen(found(0), "person?pad=0&method=smooth&cells=4")[30:90, 20:80]
    small = cv2.resize(NOISE[30:90, 20:80], (4, 4), interpolation=cv2.INTER_AREA)
    assert (inside == cv2.resize(small, (60, 60), interpolation=cv2.INTER_LINEAR)).all()


@pytest.mark.parametrize("scale", [1, 4])
def test_the_strength_follows_the_size_of_the_object(scale: int) -> None:
    rows, columns = np.mgrid[: 100 * scale, : 100 * scale] / (100 * scale) * 255
    image = np.stack([rows, columns, rows], axis=2).astype(np.uint8)
    cover(image, Area((0, 0, 100 * scale, 100 * scale)), method="pixelate", cells=5)
    assert len(np.unique(image.reshape(-1, 3), axis=0)) == 25


def test_an_object_at_the_edge_is_covered_as_far_as_it_is_in_the_picture() -> None:
    there = changed(seen(found(0, box=(-500, -20, 30, 40)), "person"))
    assert there[:40, :30].mean() > 0.98
    assert not changed(seen(found(0, box=(500, 500, 600, 600)), "person")).any()
    # What is no number hides all rather than nothing.
    assert changed(seen(found(0, box=(np.nan, 0, 30, np.inf)), "person?method=solid")).mean() > 0.98


def test_of_an_instance_the_mask_alone_where_it_is_asked_for() -> None:
    pixels = np.zeros((60, 60), bool)
    pixels[:20, :30] = True
    with_mask = replace(found(0), masks=(BoxMask((20, 30), pixels),))
    there = changed(seen(with_mask, "person?shape=mask&pad=0&method=solid"))
    assert there[30:50, 20:50].mean() > 0.98
    assert there.sum() <= 20 * 30
    wider = changed(seen(with_mask, "person?shape=mask&pad=0.1&method=solid"))
    assert wider[24:56, 14:56].mean() > 0.98
    assert wider.sum() <= (20 + 12) * (30 + 12)


def test_maps_are_covered_where_the_class_is() -> None:
    class_ids = np.ones((120, 160), np.uint8)
    class_ids[10:40, 20:50] = 0
    class_ids[80:110, 100:150] = 0
    there = changed(seen(SemanticMap(class_ids), "person?pad=0", context=replace(CONTEXT, task="semantic")))
    assert there[class_ids == 0].mean() > 0.98
    assert not there[class_ids != 0].any()
    segment_ids = np.where(class_ids == 0, 7, 3).astype(np.int32)
    panoptic = PanopticMap(segment_ids, (Segment(7, 0, True, 0.9), Segment(3, 1, False), Segment(9, 0, True, 0.9)))
    there = changed(seen(panoptic, "person?pad=0", context=replace(CONTEXT, task="panoptic")))
    assert there[class_ids == 0].mean() > 0.98
    assert not there[class_ids != 0].any()


def test_a_map_of_specks_is_covered_all_the_same() -> None:
    class_ids = np.ones((120, 160), np.uint8)
    class_ids[::3, ::3] = 0
    there = changed(seen(SemanticMap(class_ids), "person", context=replace(CONTEXT, task="semantic")))
    assert there[class_ids == 0].mean() > 0.98


def test_less_sure_objects_are_covered_from_a_threshold_of_their_own() -> None:
    step = open_step("blur", "person?conf=0.1", CONTEXT)
    assert step.least_score == 0.1
    assert changed(seen(found(0, score=0.11), "person?conf=0.1")).any()
    assert not changed(seen(found(0, score=0.09), "person?conf=0.1")).any()
    # Without one, what another step sees besides stays uncovered.
    assert not changed(seen(found(0, score=0.4), "person")).any()


def test_a_place_stays_covered_for_some_frames_in_its_own_film() -> None:
    step = open_step("blur", "person?hold=2", CONTEXT)

    def covers(result: Detections, film: str) -> bool:
        return bool(changed(step(Frame(NOISE, 0, 0.0, film), result)[0].image).any())

    assert covers(found(0), "left")
    assert [covers(Detections.empty(), film) for film in ("left", "right", "left", "left")] == [
        True,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("persn", r"the network has no class 'persn' \(did you mean 'person'\?\)"),
        ("person,", "the network has no class ''"),
        ("person?strength=3", "--blur has no option 'strength'"),
        ("person?method=pixelated", r"'pixelated' \(did you mean 'pixelate'\?\); there are: pixelate, smooth, solid"),
        ("person?cells=0", "option cells of --blur must be a number from 1 to 64, got '0'"),
        ("person?pad=x", "option pad of --blur must be a number from 0 to 2, got 'x'"),
    ],
)
def test_bad_words_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        open_step("blur", text, CONTEXT)


def test_a_threshold_means_nothing_for_a_map() -> None:
    with pytest.raises(UsageError, match="a semantic network has no objects below it"):
        open_step("blur", "person?conf=0.1", replace(CONTEXT, task="semantic"))


def test_all_is_a_class_where_a_network_has_it() -> None:
    step: Step = open_step("blur", "all", StepContext(("all", "none")))
    picture = step(Frame(NOISE, 0, 0.0, "a"), found(1))[0].image
    assert not changed(picture).any()
