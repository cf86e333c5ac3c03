"""An inspection camera over a conveyor, drawn by program: pictures with exact boxes and masks of the parts on the belt.

`render` is a video, `render_scene` a picture of a line of its own for every index. Both are pure: the same arguments
give the same bytes, in any order of calls and in any process with the same OpenCV.
"""

from functools import lru_cache

from edgewright.runtime.conveyor.camera import Camera, camera_of, expose, smear
from edgewright.runtime.conveyor.canvas import Canvas
from edgewright.runtime.conveyor.labels import LABELS, LabelledImage, labelled
from edgewright.runtime.conveyor.layout import LARGEST_UNITS, Stream, line_of, stream_rng, things_between
from edgewright.runtime.conveyor.light import Lamp, lamp_of, sheens
from edgewright.runtime.conveyor.structures import cover_front, cover_sides
from edgewright.runtime.conveyor.view import View
from edgewright.runtime.errors import UsageError

__all__ = ["LABELS", "LabelledImage", "render", "render_scene"]

_REFERENCE_HW = (480, 640)


def render(
    seed: int, index: int, size_hw: tuple[int, int] = _REFERENCE_HW, *, frame_rate: float = 30.0
) -> LabelledImage:
    """Frame `index` of the video `seed`: the belt runs, the light drifts, the same parts travel through the picture.

    Any size shows the same scene at its own resolution; a wider picture shows more of the belt. UsageError for
    negative numbers and empty sizes.
    """
    if frame_rate <= 0:
        raise UsageError(f"the frame rate of a video must be positive, got {frame_rate}")
    return _render((_checked("seed", seed), 0), _checked("index", index), index / frame_rate, size_hw)


def render_scene(seed: int, index: int, size_hw: tuple[int, int] = _REFERENCE_HW) -> LabelledImage:
    """Scene `index` of the collection `seed`: a line, camera and light of its own, independent of every other index.

    Data sets are made of these; frames of one video resemble each other too much to train on or to score with.
    """
    return _render((_checked("seed", seed), 1 + _checked("index", index)), 0, 0.0, size_hw)


def _render(stream: Stream, index: int, time_s: float, size_hw: tuple[int, int]) -> LabelledImage:
    if min(size_hw) < 1:
        raise UsageError(f"a picture must be at least 1 x 1 pixels, got {size_hw[0]} x {size_hw[1]} (height x width)")
    line, (camera, lamp) = line_of(stream), _equipment(stream)
    scale = line.zoom * min(size_hw[0] / _REFERENCE_HW[0], size_hw[1] / _REFERENCE_HW[1])
    shake = tuple(d(time_s) * camera.shake * scale for d in camera.shakes)
    view = View(size_hw, scale, line.heading, line.position(time_s), line.aside, (shake[0], shake[1]))
    light = lamp.at(time_s)
    canvas = Canvas(view)
    canvas.paint_belt(line)
    shining, reach = sheens(light), view.reach + LARGEST_UNITS * 1.2
    things = things_between(stream, view.position - reach, view.position + reach)
    for thing in things:
        canvas.lay(thing, light, shining)
    cover_sides(canvas, line, view)
    cover_front(canvas, stream_rng(stream, "front"), view, time_s)
    smear_px = smear(line.velocity(time_s), line.heading, camera, scale)
    image = expose(camera, canvas.color, light, view, smear_px=smear_px, rng=stream_rng(stream, "frame", index))
    return labelled(image, canvas)


@lru_cache(maxsize=64)
def _equipment(stream: Stream) -> tuple[Camera, Lamp]:
    return camera_of(stream_rng(stream, "camera")), lamp_of(stream_rng(stream, "lamp"))


def _checked(name: str, value: int) -> int:
    if value < 0:
        raise UsageError(f"the {name} of a synthetic picture must be 0 or greater, got {value}")
    return int(value)
