"""A detector on slices finds what it would find on the whole image: the objects that were drawn are the reference."""

import itertools
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.runtime.backends import Setting, Tensors
from edgewright.runtime.errors import UsageError
from edgewright.runtime.loop import RunStatistics, run_loop
from edgewright.runtime.predictor import Predictor
from edgewright.runtime.results import BoxMask, Detections, Image
from edgewright.runtime.slicing import Slicing, Window, check_slicing, join_slices, parse_slicing, windows
from edgewright.runtime.sources import open_source
from edgewright.runtime.spec import HeadSpec, ModelSpec, PostprocessSpec, PreprocessSpec, ProposalSpec, TensorSpec

ROWS, CLASSES = 64, 2
Rectangle = tuple[int, int, int, int]


class Engine:
    """Finds every patch of red or of green pixels: its box, and a score that depends on where it is."""

    def __init__(self, size_hw: tuple[int, int]) -> None:
        self.inputs = (TensorSpec(name="images", shape=(1, 3, *size_hw), dtype="float32"),)
        self.outputs = (
            TensorSpec(name="boxes", shape=(1, ROWS, 4), dtype="float32"),
            TensorSpec(name="scores", shape=(1, ROWS, CLASSES), dtype="float32"),
        )
        self.settings: Mapping[str, Setting] = {"engine": "patches"}
        self._boxes = np.zeros((1, ROWS, 4), np.float32)
        self._scores = np.zeros((1, ROWS, CLASSES), np.float32)
        self.calls = 0

    def infer(self, feeds: Tensors) -> dict[str, npt.NDArray[Any]]:
        self.calls += 1
        self._boxes[:], self._scores[:] = 0, 0
        row = 0
        for class_id in range(CLASSES):
            plane = (feeds["images"][0, class_id] > 128).astype(np.uint8)
            _, _, found, _ = cv2.connectedComponentsWithStats(plane, connectivity=4)
            for x, y, width, height, _ in found[1:]:
                self._boxes[0, row] = x, y, x + width, y + height
                self._scores[0, row, class_id] = 0.5 + (x * 37 + y * 11) % 50 / 100
                row += 1
        return {"boxes": self._boxes, "scores": self._scores}

    def close(self) -> None: ...

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None: ...


def model(size_hw: tuple[int, int], **changes: Any) -> ModelSpec:
    engine = Engine(size_hw)
    fields: dict[str, Any] = {
        "name": "patches",
        "task": "detect",
        "labels": ("red", "green"),
        "inputs": engine.inputs,
        "outputs": engine.outputs,
        "preprocess": PreprocessSpec(size_hw=size_hw, pad_value=0),
        "head": HeadSpec(kind="dense", outputs={"boxes": "boxes", "scores": "scores"}),
        "postprocess": PostprocessSpec(conf_threshold=0.3, iou_threshold=0.9),
    }
    return ModelSpec(**{**fields, **changes})


def predictor(engine: Engine, slicing: Slicing) -> Predictor:
    spec = model(engine.inputs[0].shape[2:])  # type: ignore[arg-type]
    return Predictor(spec, engine, spec.postprocess, slicing=slicing)


def drawn(
    size_hw: tuple[int, int], rectangles: list[tuple[Rectangle, int]]
) -> tuple[Image, set[tuple[Rectangle, int]]]:
    """A picture of the rectangles x, y, width, height that keep a distance to those before; and these, as corners with class."""
    image, kept = np.zeros((*size_hw, 3), np.uint8), set()
    for (x, y, width, height), class_id in rectangles:
        box = x, y, min(x + width, size_hw[1]), min(y + height, size_hw[0])
        around = image[max(y - 2, 0) : box[3] + 2, max(x - 2, 0) : box[2] + 2]
        if box[2] > x and box[3] > y and not around.any():
            image[y : box[3], x : box[2], 2 - class_id] = 255  # BGR
            kept.add((box, class_id))
    return image, kept


def seen(found: Detections) -> set[tuple[tuple[float, ...], int]]:
    return {
        (tuple(box), class_id)
        for box, class_id in zip(found.boxes_xyxy.tolist(), found.class_ids.tolist(), strict=True)
    }


rectangle = st.tuples(st.integers(0, 149), st.integers(0, 99), st.integers(1, 150), st.integers(1, 100))
small = st.tuples(st.integers(0, 149), st.integers(0, 99), st.integers(1, 14), st.integers(1, 14))


@given(
    rectangles=st.lists(st.tuples(st.one_of(rectangle, small), st.integers(0, 1)), max_size=12),
    overlap=st.sampled_from([0.1, 0.3, 0.5]),
)
def test_every_object_is_found_once_in_exact_pixels_whatever_borders_it_lies_on(
    rectangles: list[tuple[Rectangle, int]], overlap: float
) -> None:
    image, expected = drawn((100, 150), rectangles)
    with predictor(Engine((40, 50)), Slicing((40, 50), overlap, whole=False)) as p:
        found = p(image)
    assert isinstance(found, Detections)
    assert len(found) == len(expected)
    assert seen(found) == expected
    assert (np.diff(found.scores) <= 0).all()


def test_a_small_object_between_two_slices_is_found_where_the_whole_image_is_too_coarse() -> None:
    image, expected = drawn((400, 500), [((248, 100, 3, 3), 0), ((300, 300, 150, 90), 1)])
    engine = Engine((40, 50))
    with predictor(engine, Slicing((40, 50), 0.2, whole=True)) as p:
        found = p(image)
        assert isinstance(found, Detections)
        assert seen(found[found.class_ids == 0]) == {((248, 100, 251, 103), 0)}
    assert len(found) == len(expected)
    # What is larger than a slice comes from the whole image, at a tenth of its resolution.
    np.testing.assert_allclose(found.boxes_xyxy[found.class_ids == 1], [[300, 300, 450, 390]], atol=10)


@given(
    st.integers(1, 200),
    st.integers(1, 200),
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from([0, 0.2, 0.5, 0.9]),
)
def test_slices_cover_the_image_lie_inside_and_overlap_by_no_less_than_asked_for(
    height: int, width: int, rows: int, columns: int, overlap: float
) -> None:
    places = windows((height, width), Slicing((rows, columns), overlap, whole=False))
    covered = np.zeros((height, width), bool)
    for x1, y1, x2, y2 in places:
        assert (y2 - y1, x2 - x1) == (min(rows, height), min(columns, width))
        covered[y1:y2, x1:x2] = True
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
    assert covered.all()
    for axis, side in ((0, min(columns, width)), (1, min(rows, height))):
        starts = sorted({place[axis] for place in places})
        # A step is at least one pixel, and rounding to whole pixels may cost one.
        assert all(b - a <= max(side * (1 - overlap) + 1, 1) for a, b in itertools.pairwise(starts))


def test_an_image_that_one_slice_covers_costs_one_run() -> None:
    engine = Engine((40, 50))
    with predictor(engine, Slicing((40, 50))) as p:
        p(np.zeros((40, 50, 3), np.uint8))
        assert engine.calls == 1
        p(np.zeros((41, 50, 3), np.uint8))
        assert engine.calls == 1 + 2 + 1


def test_images_of_different_sizes_come_after_one_another() -> None:
    with predictor(Engine((40, 50)), Slicing((40, 50), 0.2, whole=False)) as p:
        for size_hw in ((40, 50), (100, 150), (41, 200), (100, 150)):
            image, expected = drawn(size_hw, [((20, 10, 12, 15), 0), ((130, 70, 9, 30), 1)])
            found = p(image)
            assert isinstance(found, Detections)
            assert seen(found) == expected


LEFT, RIGHT = (0, 0, 100, 100), (80, 0, 180, 100)
SIZE = (100, 180)


def part(boxes: list[list[float]], scores: list[float], masks: tuple[BoxMask, ...] | None = None) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.zeros(len(scores), np.int64), masks
    )


def joined(left: Detections, right: Detections, places: tuple[Window, Window] = (LEFT, RIGHT)) -> Detections:
    return join_slices([left, right], places, SIZE)


def test_an_uncut_box_stands_for_a_cut_one_that_is_surer_and_takes_its_score() -> None:
    found = joined(part([[84, 10, 99.6, 40]], [0.9]), part([[4, 10, 40, 40]], [0.5]))
    assert found.boxes_xyxy.tolist() == [pytest.approx([84, 10, 120, 40])]
    assert found.scores.tolist() == pytest.approx([0.9])


def test_a_box_cut_in_all_slices_becomes_the_box_around_its_parts() -> None:
    # The network sees an edge a pixel from where the slices end: 99 of 100, 81 = 80 + 1.
    found = joined(part([[60, 10, 99, 40]], [0.5]), part([[1, 11, 40, 40]], [0.9]))
    assert found.boxes_xyxy.tolist() == [[60, 10, 120, 40]]
    assert found.scores.tolist() == pytest.approx([0.9])


def test_objects_side_by_side_at_a_border_stay_two() -> None:
    found = joined(part([[60, 10, 90, 40]], [0.9]), part([[11, 10, 40, 40]], [0.8]))  # up to 90, from 91 on
    assert len(found) == 2


def test_a_small_object_in_front_of_a_large_one_stays() -> None:
    large, little = [10.0, 5.0, 95.0, 95.0], [84.0, 20.0, 94.0, 30.0]
    found = joined(part([large, little], [0.9, 0.8]), part([[4, 20, 14, 30]], [0.7]))
    assert sorted(found.boxes_xyxy.tolist()) == sorted([large, little])


def test_objects_of_different_classes_are_different_unless_classes_do_not_count() -> None:
    left, right = part([[82, 10, 95, 40]], [0.9]), part([[2, 10, 15, 40]], [0.8])
    other = Detections(right.boxes_xyxy, right.scores, np.ones(1, np.int64))
    assert len(joined(left, other)) == 2
    assert len(join_slices([left, other], [LEFT, RIGHT], SIZE, class_agnostic=True)) == 1


def test_parts_of_a_mask_become_one_mask() -> None:
    pixels = np.ones((20, 40), bool)
    left = part([[60, 10, 100, 30]], [0.9], (BoxMask((60, 10), pixels),))
    right = part([[0, 10, 50, 30]], [0.8], (BoxMask((0, 10), np.ones((20, 50), bool)),))
    found = joined(left, right)
    assert found.masks is not None
    (mask,) = found.masks
    expected = np.zeros(SIZE, bool)
    expected[10:30, 60:130] = True
    assert (mask.paste(SIZE) == expected).all()


def test_nothing_found_anywhere_is_no_object() -> None:
    assert len(joined(Detections.empty(), Detections.empty())) == 0


def test_tiles_are_recorded_and_every_stage_is_timed() -> None:
    statistics = RunStatistics()
    with (
        predictor(Engine((40, 50)), parse_slicing("200x300?overlap=0.25&whole=no")) as p,
        open_source("synthetic:1:5") as source,
    ):
        run_loop(source, p, [], p.spec.labels, statistics=statistics)
        assert (p.settings["tiles"], p.settings["tiles.overlap"], p.settings["tiles.whole"]) == ("200x300", 0.25, False)
        assert p.settings["engine"] == "patches"
    assert {"capture", "prepare", "infer", "finish", "end_to_end"} <= set(statistics.summaries())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("640", "height x width in pixels of the picture, such as 640x640, got '640'"),
        ("0x10", "got '0x10'"),
        ("640x640?overlap=0.95", "from 0 to 0.9, got '0.95'"),
        ("640x640?overlap=-0.1", "from 0 to 0.9"),
        ("640x640?overlap=nan", "from 0 to 0.9"),
        ("640x640?whole=maybe", "yes or no"),
        ("640x640?hole=no", "no option 'hole' .did you mean 'whole'"),
    ],
)
def test_a_wish_for_tiles_that_makes_no_sense_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        parse_slicing(text)


def test_networks_that_find_no_objects_in_an_image_alone_are_refused() -> None:
    maps = model((40, 50), task="semantic")
    with pytest.raises(UsageError, match=r"patches is a semantic network.*--tile-overlap"):
        check_slicing(maps)
    proposals = ProposalSpec(input="regions", method="windows", count=5)
    with pytest.raises(UsageError, match="takes regions from outside"):
        check_slicing(model((40, 50), proposals=proposals))
