"""Prompts: points and boxes that say which object of a picture is meant."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.runtime.errors import UsageError
from edgewright.runtime.geometry import Placement

Points = npt.NDArray[np.float64]

# Labels of the slots of a prompt, as SAM's networks number them.
BACKGROUND, OBJECT, TOP_LEFT, BOTTOM_RIGHT, EMPTY = 0, 1, 2, 3, -1
_KINDS = {"point": 2, "background": 2, "box": 4}
_NUMBER = re.compile(r"(-?\d+(?:\.\d*)?|-?\.\d+)(%?)")


@dataclass(frozen=True, eq=False)
class Prompt:
    """What says which object is meant, in pixels of the source image: points (P, 2), whether each lies on the object (P,),
    and its box x1 y1 x2 y2 (4,), where there is one."""

    points_xy: Points
    on_object: npt.NDArray[np.bool_]
    box_xyxy: Points | None = None

    @property
    def slots(self) -> int:
        """How many slots of a network it fills: one for a point, two for a box."""
        return len(self.points_xy) + (2 if self.box_xyxy is not None else 0)


def parse_prompts(texts: Sequence[str], size_hw: tuple[int, int]) -> tuple[Prompt, ...]:
    """The objects that texts such as "point:320,240", "box:10,20,90,80" or "point:50%,25%+background:12,30" mean.

    Numbers are pixels of an image of `size_hw`, those with a % parts of its width or height. Every text is an object; '+'
    joins several points and a box to one, and a text of background points alone belongs to the object before it.
    """
    found: list[Prompt] = []
    for text in texts:
        prompt = _joined(text, [_part(text, part, size_hw) for part in text.split("+")])
        if prompt.box_xyxy is None and not prompt.on_object.any():
            if not found:
                raise UsageError(
                    f"--prompt {text} says what is not the object; give a point or a box of the object before it"
                )
            prompt = _joined(text, [found.pop(), prompt])
        found.append(prompt)
    return tuple(found)


def make_prompts(points_xy: Any = None, point_labels: Any = None, boxes_xyxy: Any = None) -> tuple[Prompt, ...]:
    """One prompt for each of N objects, from arrays in pixels of the source image.

    `points_xy` (N, P, 2), or N arrays (P, 2) of different lengths, or (P, 2) for one object; `point_labels` has a 1 for a
    point on the object, a 0 for one beside it, a -1 for no point; left out, all points are on it. `boxes_xyxy` is (N, 4), or
    (4,) for one object. UsageError for other shapes and values.
    """
    points, boxes = _point_lists(points_xy), _box_list(boxes_xyxy)
    labels = _label_lists(point_labels, points)
    if points and boxes and len(points) != len(boxes):
        raise UsageError(f"there are points of {len(points)} objects and {len(boxes)} boxes; give as many of both")
    count = len(points) or len(boxes)
    if not count:
        raise UsageError("the prompt is empty; give points_xy or boxes_xyxy")
    return tuple(
        _prompt(
            points[index] if points else np.zeros((0, 2)),
            labels[index] if points else np.zeros(0),
            boxes[index] if boxes else None,
        )
        for index in range(count)
    )


def check_prompt(prompt: Prompt, size_hw: tuple[int, int], slots: int) -> None:
    """UsageError unless the prompt says where an object is, inside an image of `size_hw`, and fits into `slots` slots."""
    height, width = size_hw
    corners = np.zeros((0, 2)) if prompt.box_xyxy is None else prompt.box_xyxy.reshape(2, 2)
    if prompt.box_xyxy is None and not prompt.on_object.any():
        raise UsageError("the prompt says nowhere where the object is; give a point on it or its box")
    for x, y in np.concatenate([prompt.points_xy, corners]):
        if not (0 <= x <= width and 0 <= y <= height):  # not a number is outside too
            raise UsageError(f"the prompt {x:g},{y:g} lies outside the image, which is {width} wide and {height} high")
    if len(corners) and not (corners[0] < corners[1]).all():
        box = ",".join(f"{value:g}" for value in corners.ravel())
        raise UsageError(f"the box {box} has no area; give x1,y1,x2,y2 with x1 < x2 and y1 < y2")
    if prompt.slots > slots:
        raise UsageError(
            f"the prompt fills {prompt.slots} slots (one a point, two a box), this bundle has {slots}; give fewer points"
        )


def fill_slots(
    prompt: Prompt, placement: Placement, slots: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """The points [1, slots, 2] in pixels of the input tensor and their labels [1, slots] that a network takes."""
    points, labels = np.zeros((1, slots, 2), np.float32), np.full((1, slots), EMPTY, np.int32)
    corners = np.zeros((0, 2)) if prompt.box_xyxy is None else prompt.box_xyxy.reshape(2, 2)
    places = np.concatenate([corners, prompt.points_xy]).astype(np.float32)
    points[0, : len(places)] = placement.to_tensor(np.tile(places, 2))[:, :2]
    meanings = [TOP_LEFT, BOTTOM_RIGHT][: len(corners)] + [OBJECT if on else BACKGROUND for on in prompt.on_object]
    labels[0, : len(places)] = meanings
    return points, labels


def _part(text: str, part: str, size_hw: tuple[int, int]) -> Prompt:
    kind, _, numbers = part.strip().partition(":")
    words = numbers.split(",")
    matches = [_NUMBER.fullmatch(word.strip()) for word in words]
    if kind not in _KINDS or len(words) != _KINDS[kind] or None in matches:
        raise UsageError(
            f"--prompt {text}: wanted point:X,Y or box:X1,Y1,X2,Y2 or background:X,Y, in pixels or with a % of the image's "
            "size, several of one object joined by '+'"
        )
    sides = np.array([size_hw[1], size_hw[0]] * 2, np.float64)
    values = np.array(
        [float(m[1]) * (side / 100 if m[2] else 1) for m, side in zip(matches, sides, strict=False) if m is not None]
    )
    if kind == "box":
        return Prompt(np.zeros((0, 2)), np.zeros(0, bool), values)
    return Prompt(values[None], np.array([kind == "point"]))


def _joined(text: str, parts: Sequence[Prompt]) -> Prompt:
    boxes = [part.box_xyxy for part in parts if part.box_xyxy is not None]
    if len(boxes) > 1:
        raise UsageError(f"--prompt {text}: an object has one box; give each box a --prompt of its own")
    points = Prompt(
        np.concatenate([part.points_xy for part in parts]), np.concatenate([part.on_object for part in parts])
    )
    return replace(points, box_xyxy=boxes[0] if boxes else None)


def _point_lists(points_xy: Any) -> list[Points]:
    if points_xy is None or len(points_xy) == 0:
        return []
    one = not _is_list(points_xy[0]) or (len(points_xy[0]) > 0 and not _is_list(points_xy[0][0]))
    lists = [_floats(points) for points in ([points_xy] if one else points_xy)]
    for points in lists:
        if points.size and (points.ndim != 2 or points.shape[1] != 2):
            raise UsageError(
                f"points_xy is (N, P, 2) for N objects or (P, 2) for one, got {list(points.shape)} for one object"
            )
    return [points.reshape(-1, 2) for points in lists]


def _label_lists(point_labels: Any, points: list[Points]) -> list[Points]:
    if point_labels is None:
        return [np.ones(len(of_one)) for of_one in points]
    one = len(point_labels) > 0 and not _is_list(point_labels[0])
    lists = [_floats(labels) for labels in ([point_labels] if one else point_labels)]
    got, wanted = [labels.shape for labels in lists], [(len(of_one),) for of_one in points]
    if got != wanted:
        raise UsageError(f"point_labels has one number for each point: the points want {wanted}, got {got}")
    if not all(np.isin(labels, (OBJECT, BACKGROUND, EMPTY)).all() for labels in lists):
        raise UsageError("point_labels are 1 (on the object), 0 (beside it) or -1 (no point)")
    return lists


def _box_list(boxes_xyxy: Any) -> list[Points]:
    if boxes_xyxy is None or len(boxes_xyxy) == 0:
        return []
    boxes = np.atleast_2d(_floats(boxes_xyxy))
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise UsageError(f"boxes_xyxy is (N, 4) for N objects or (4,) for one, got {list(boxes.shape)}")
    return list(boxes)


def _prompt(points: Points, labels: Points, box: Points | None) -> Prompt:
    kept = labels != EMPTY
    return Prompt(points[kept], labels[kept] == OBJECT, box)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence | np.ndarray)


def _floats(values: Any) -> Points:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError) as err:
        raise UsageError(f"points and boxes are arrays of numbers ({err})") from err
