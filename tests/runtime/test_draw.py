"""Results drawn onto frames."""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.runtime.draw import annotate, class_color, palette
from edgewright.runtime.errors import UsageError
from edgewright.runtime.lettering import contrasting, fitted, lettering_for, writable
from edgewright.runtime.results import BoxMask, Detections, Image, PanopticMap, Segment, SemanticMap

LABELS = ("bolt", "nut", "washer")


def grey(height: int, width: int) -> Image:
    return np.full((height, width, 3), 100, np.uint8)


def detections(boxes: list[tuple[float, float, float, float]], **fields: Any) -> Detections:
    count = len(boxes)
    boxes_xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(boxes_xyxy, np.full(count, 0.5, np.float32), np.arange(count, dtype=np.int64), **fields)


def changed(picture: Image, image: Image) -> npt.NDArray[np.bool_]:
    return np.asarray((picture != image).any(axis=2))


def test_the_frame_itself_is_not_drawn_on() -> None:
    image = grey(240, 320)
    picture = annotate(image, detections([(10, 50, 100, 200)]), LABELS)
    assert (image == 100).all()
    assert changed(picture, image).any()


def test_nothing_found_leaves_the_picture_as_it_is() -> None:
    image = grey(240, 320)
    assert not changed(annotate(image, Detections.empty(), LABELS), image).any()


def test_a_box_marks_its_first_and_its_last_pixel_in_the_color_of_its_class() -> None:
    # Pixel i covers [i, i + 1): a box up to x = 50 ends with pixel 49. Below 100 pixels there is no label.
    picture = annotate(grey(64, 64), detections([(10, 20, 50, 40)]), LABELS)
    rows, columns = np.nonzero(changed(picture, grey(64, 64)))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 39, 10, 49)
    assert tuple(picture[20, 10]) == tuple(picture[39, 49]) == class_color(0)


@pytest.mark.parametrize("size_hw", [(240, 320), (480, 640), (1080, 1920), (2160, 3840)])
def test_a_label_stands_above_its_box_and_suits_the_size_of_the_picture(size_hw: tuple[int, int]) -> None:
    h, w = size_hw
    picture = annotate(grey(h, w), detections([(w // 4, h // 2, w // 2, h * 3 // 4)]), LABELS)
    rows = np.nonzero(changed(picture, grey(h, w))[: h // 2 - h // 40].any(axis=1))[0]
    # 11 pixels is the least that letters of 9 pixels with their margin take; more than 8% of the height hides things.
    assert 11 <= h // 2 - rows.min() <= max(20, 0.08 * h)


def test_a_label_of_a_box_at_the_edge_is_moved_inside_the_picture() -> None:
    names = ("a rather long name for a class",)
    edges = [(-50.0, -20.0, 30.0, 60.0), (310.0, 200.0, 400.0, 300.0), (300.0, 0.0, 320.0, 10.0)]
    for box in edges:
        found = Detections(np.array([box], np.float32), np.ones(1, np.float32), np.zeros(1, np.int64))
        picture = annotate(grey(240, 320), found, names)
        plate = (picture == np.array(class_color(0))).all(axis=2).sum()
        assert plate > 500, box


def test_a_mask_is_blended_where_it_is_set_and_nowhere_else() -> None:
    pixels = np.zeros((20, 30), bool)
    pixels[5:10, 5:25] = True
    found = detections([(10, 20, 40, 40)], masks=(BoxMask((10, 20), pixels),))
    plain = annotate(grey(64, 64), detections([(10, 20, 40, 40)]), LABELS)
    rows, columns = np.nonzero(changed(annotate(grey(64, 64), found, LABELS), plain))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (25, 29, 15, 34)
    mixed = [(100 + part) / 2 for part in class_color(0)]
    assert annotate(grey(64, 64), found, LABELS)[27, 20].tolist() == pytest.approx(mixed, abs=1)


@pytest.mark.parametrize("mask_hw", [(1, 1), (1, 4), (4, 1), (3, 1), (4, 3), (3, 3)])
def test_masks_as_small_as_a_color_tuple_are_blended_alike(mask_hw: tuple[int, int]) -> None:
    # OpenCV takes a tuple for an array when their shapes agree.
    found = detections([(30, 30, 60, 60)], masks=(BoxMask((40, 40), np.ones(mask_hw, bool)),))
    picture = annotate(grey(64, 64), found, LABELS)
    mixed = [(100 + part) / 2 for part in class_color(0)]
    assert picture[40, 40].tolist() == pytest.approx(mixed, abs=1)
    assert (picture[40 : 40 + mask_hw[0], 40 : 40 + mask_hw[1]] == picture[40, 40]).all()


@given(
    size_hw=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    boxes=st.lists(st.tuples(*[st.floats(width=32) for _ in range(4)]), max_size=5),
    corner=st.tuples(st.integers(-50, 350), st.integers(-50, 350)),
)
def test_every_size_and_every_box_can_be_drawn(
    size_hw: tuple[int, int], boxes: list[tuple[float, float, float, float]], corner: tuple[int, int]
) -> None:
    masks = tuple(BoxMask(corner, np.ones((7, 9), bool)) for _ in boxes)
    found = detections(boxes, masks=masks, track_ids=np.arange(len(boxes)))
    assert annotate(grey(*size_hw), found, ("汽车", "")).shape == (*size_hw, 3)


def test_a_semantic_map_colors_classes_and_leaves_the_background_alone() -> None:
    class_ids = np.zeros((60, 80), np.int64)
    class_ids[:30] = 2
    picture = annotate(grey(60, 80), SemanticMap(class_ids), ("background", "belt", "part"))
    assert (picture[30:] == 100).all()
    assert np.abs(picture[10, 10].astype(int) - (np.array(class_color(2)) + 100) / 2).max() <= 1


def test_the_legend_names_the_largest_class_first_and_no_background() -> None:
    class_ids = np.zeros((240, 320), np.uint8)
    class_ids[100:], class_ids[:20] = 1, 2
    picture = annotate(grey(240, 320), SemanticMap(class_ids), ("background", "belt", "part"))
    assert [tuple(picture[y, 0]) for y in (1, 24)] == [class_color(1), class_color(2)]
    assert (picture[60:100] == 100).all()


def test_class_ids_beyond_the_palette_repeat_its_colors() -> None:
    picture = annotate(grey(20, 20), SemanticMap(np.full((20, 20), 300)), [str(i) for i in range(400)])
    assert np.abs(picture[5, 5].astype(int) - (np.array(class_color(300 - 256)) + 100) / 2).max() <= 1


def test_panoptic_segments_take_the_color_of_their_class_and_a_line_parts_them() -> None:
    segment_ids = np.zeros((60, 90), np.int32)
    segment_ids[:, 30:60], segment_ids[:, 60:] = 70_000, 12
    segments = (Segment(70_000, 1, True), Segment(12, 1, True))
    picture = annotate(grey(60, 90), PanopticMap(segment_ids, segments), LABELS)
    assert (picture[:, :30] == 100).all()
    assert (picture[30, 30] == 255).all()
    assert (picture[30, 60] == 255).all()
    assert picture[30, 45].tolist() == picture[30, 75].tolist() != [100, 100, 100]


def test_a_map_of_another_size_is_refused() -> None:
    with pytest.raises(UsageError, match=r"a map of \(10, 10\) does not fit an image of \(20, 20\)"):
        annotate(grey(20, 20), SemanticMap(np.zeros((10, 10), np.int64)), LABELS)


def test_class_colors_are_all_different_and_far_apart_for_the_first_classes() -> None:
    assert len({tuple(color) for color in palette().tolist()}) == 256
    first = palette()[:16].astype(int)
    assert min(np.abs(a - b).max() for a, b in itertools.combinations(first, 2)) >= 32


def test_text_reads_well_on_every_class_color() -> None:
    # WCAG 2, success criterion 1.4.3: a contrast of at least 4.5, by its definition of relative luminance.
    def luminance(color: Any) -> float:
        channels = np.array(color, float)[::-1] / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    for color in palette().tolist():
        dark, light = sorted((luminance(color), luminance(contrasting(tuple(color)))))
        assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_letters_that_an_ascii_font_lacks_become_plain_or_a_question_mark() -> None:
    assert writable("café Größe\n汽车", ascii_only=True) == "cafe Gro?e ??"
    assert writable("café Größe\n汽车", ascii_only=False) == "café Größe 汽车"


@given(st.text(max_size=80), st.integers(0, 400))
def test_fitted_text_is_never_wider_than_its_room(text: str, room: int) -> None:
    lettering = lettering_for((480, 640))
    assert lettering is not None
    shown, width = fitted(text, " 0.93", room, lettering)
    assert width <= room
    assert shown == "" or shown.endswith("0.93")


def test_a_long_name_is_cut_and_its_score_kept() -> None:
    lettering = lettering_for((480, 640))
    assert lettering is not None
    shown, _ = fitted("screwdriver " * 100, " 0.93", 150, lettering)
    assert shown.startswith("screw")
    assert shown.endswith(".. 0.93")


def test_thumbnails_carry_no_text() -> None:
    assert lettering_for((64, 64)) is None
    assert lettering_for((240, 320)) is not None


def test_a_panoptic_segment_is_named_inside_of_its_shape() -> None:
    # A ring: its middle is a hole that belongs to another segment.
    segment_ids = np.full((240, 320), 2, np.int32)
    segment_ids[20:220, 40:280] = 1
    segment_ids[80:160, 100:220] = 2
    found = PanopticMap(segment_ids, (Segment(1, 0, True, 0.93), Segment(2, 1, False)))
    picture = annotate(grey(240, 320), found, LABELS)
    plate = (picture == np.array(class_color(0))).all(axis=2)
    assert plate.sum() > 100
    assert not plate[100:140, 140:180].any()


def test_tiny_segments_get_no_name() -> None:
    segment_ids = np.zeros((240, 320), np.int32)
    segment_ids[100:105, 100:105] = 1
    picture = annotate(grey(240, 320), PanopticMap(segment_ids, (Segment(1, 0, True, 0.9),)), LABELS)
    assert changed(picture, grey(240, 320)).sum() <= 36
