"""What is covered is not labelled, shadows fall away from the light, every thing stays inside of its square."""

from dataclasses import replace

import numpy as np
import pytest

from edgewright.runtime.conveyor.canvas import Canvas
from edgewright.runtime.conveyor.labels import LabelledImage, labelled
from edgewright.runtime.conveyor.layout import Thing, line_of
from edgewright.runtime.conveyor.light import Light, lamp_of, sheens
from edgewright.runtime.conveyor.parts import PARTS
from edgewright.runtime.conveyor.rubbish import MARKS, THINGS
from edgewright.runtime.conveyor.sprites import OPACITY, VARIANTS, sprite_for
from edgewright.runtime.conveyor.view import View

BRACKET = Thing("bracket", "zinc", 0, along=0, across=0, side=100, turn=0.0, squeeze=1.0, grime=0.5)
WASHER = replace(BRACKET, kind="washer", side=60)
BLANK = replace(BRACKET, kind="blank")
VIEW = View((200, 300), scale=1.0, heading=0.0, position=0.0, aside=0.0, shake_xy=(0.0, 0.0))


@pytest.fixture
def light() -> Light:
    return replace(lamp_of(np.random.default_rng(1)).base, azimuth=0.0, elevation=0.6)


def painted(light: Light, *things: Thing, view: View = VIEW) -> Canvas:
    canvas = Canvas(view)
    canvas.color += 0.5
    for thing in things:
        canvas.lay(thing, light, sheens(light))
    return canvas


def labels_of(canvas: Canvas) -> LabelledImage:
    return labelled(np.zeros((*canvas.view.size_hw, 3), np.uint8), canvas)


def cover_left_of(canvas: Canvas, x: float) -> None:
    canvas.cover(np.array([[-10, -10], [x, -10], [x, 400], [-10, 400]], float), np.zeros(3, np.float32), 0.0)


def test_a_thing_that_lies_alone_is_labelled_where_it_lies(light: Light) -> None:
    found = labels_of(painted(light, WASHER))
    # The rim of every washer has a radius of 0.93 halves of its side: 60 * 0.93 / 2 around the middle.
    assert np.allclose(found.boxes_xyxy, [[150 - 27.9, 100 - 27.9, 150 + 27.9, 100 + 27.9]], atol=1.01)
    assert found.class_ids.tolist() == [list(PARTS).index("washer")]


def test_a_half_covered_part_is_labelled_by_its_visible_half(light: Light) -> None:
    canvas = painted(light, WASHER)
    cover_left_of(canvas, 150)
    assert labels_of(canvas).boxes_xyxy[0, 0] == pytest.approx(150, abs=1)


def test_a_part_of_which_little_is_seen_is_not_labelled(light: Light) -> None:
    canvas = painted(light, WASHER)
    cover_left_of(canvas, 172)
    assert len(labels_of(canvas).masks) == 0


def test_a_part_beneath_another_loses_the_covered_pixels(light: Light) -> None:
    below, above = replace(WASHER, along=-20), replace(BLANK, along=20, side=60)
    alone, covered = labels_of(painted(light, below)), labels_of(painted(light, below, above))
    assert covered.masks[0].pixels.sum() < alone.masks[0].pixels.sum()
    assert len(covered.masks) == 1


def test_a_part_at_the_border_is_labelled_inside_the_picture_only(light: Light) -> None:
    found = labels_of(painted(light, replace(WASHER, along=-150)))
    assert found.boxes_xyxy[0, 0] == 0
    assert found.boxes_xyxy[0, 2] == pytest.approx(27.9, abs=1.01)


def test_marks_and_rubbish_are_not_labelled_and_marks_hide_nothing(light: Light) -> None:
    for kind in (*THINGS, *MARKS):
        assert len(labels_of(painted(light, replace(WASHER, kind=kind, material="oil"))).masks) == 0
    mark = replace(WASHER, kind="stain", material="oil", side=150)
    assert len(labels_of(painted(light, WASHER, mark)).masks) == 1


def test_the_shadow_falls_to_the_side_away_from_the_light(light: Light) -> None:
    canvas = painted(light, replace(BLANK, side=80))
    # The light comes from the right.
    left, right = canvas.color[100, 150 - 42, 0], canvas.color[100, 150 + 45, 0]
    assert left < right <= 0.5


def test_a_thing_outside_of_the_picture_still_throws_its_shadow_into_it(light: Light) -> None:
    tall = replace(WASHER, kind="bolt", side=120, along=213, turn=np.pi / 2)
    canvas = painted(light, tall)
    assert len(canvas.laid) == 0
    assert canvas.color[:, -1].min() < 0.49


def test_the_belt_moves_with_the_things_on_it() -> None:
    line = line_of((3, 0))
    moved = replace(VIEW, position=25.0)
    canvas, canvas_moved = Canvas(VIEW), Canvas(moved)
    canvas.paint_belt(line)
    canvas_moved.paint_belt(line)
    assert np.allclose(canvas.color[:, 25:], canvas_moved.color[:, :-25], atol=0.02)
    assert VIEW.to_pixels(40, 7)[0] - moved.to_pixels(40, 7)[0] == pytest.approx(25)


@pytest.mark.parametrize("kind", [*PARTS, *THINGS, *MARKS])
def test_every_form_of_a_kind_is_solid_and_stays_inside_of_its_square(kind: str) -> None:
    for variant in range(VARIANTS):
        sprite = sprite_for(kind, variant, 256)
        opacity = sprite.layers[:, :, OPACITY]
        assert opacity.max() > 128
        assert max(opacity[0].max(), opacity[-1].max(), opacity[:, 0].max(), opacity[:, -1].max()) < 128
        assert 0 < sprite.fill < 1
