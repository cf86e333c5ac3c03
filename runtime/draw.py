"""Results drawn onto a copy of the frame: boxes, labels, instance masks, semantic and panoptic colours."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgewright.runtime.errors import UsageError
from edgewright.runtime.lettering import Color, draw_plate, fitted, lettering_for
from edgewright.runtime.panoptic import Extent, segment_extents
from edgewright.runtime.results import BoxMask, Detections, Image, PanopticMap, Result, SemanticMap

_COLORS = 256
_BACKGROUND_LABELS = frozenset(("background", "__background__", "void", "unlabeled", "unlabelled"))
# Classes below this share of the picture get no line in the legend.
_LEGEND_SHARE = 0.002


def annotate(image: Image, result: Result, labels: Sequence[str]) -> Image:
    """A copy of a BGR uint8 image (H, W, 3) with `result` drawn on it; a class has the same colour in every picture."""
    picture = image.copy()
    if isinstance(result, Detections):
        _draw_detections(picture, result, labels)
    elif isinstance(result, SemanticMap):
        _check_size(result.class_ids, image)
        _draw_semantic(picture, image, result, labels)
    else:
        _check_size(result.segment_ids, image)
        _draw_panoptic(picture, image, result, labels)
    return picture


def class_color(class_id: int) -> Color:
    """The BGR colour of a class; 256 different ones, then they repeat."""
    blue, green, red = (int(value) for value in palette()[class_id % _COLORS])
    return blue, green, red


@lru_cache(maxsize=1)
def palette() -> Image:
    """256 BGR colours (256, 3); neighbours differ strongly."""
    number = np.arange(_COLORS)
    # Steps of the golden ratio spread the hues evenly however many are taken.
    hue = (number * 0.618034 + 0.012) % 1.0 * 180
    saturation = np.choose(number // 8 % 3, (215, 140, 255))
    value = np.choose(number // 8 % 4, (255, 255, 190, 150))
    hsv = np.stack([hue, saturation, value], axis=1).astype(np.uint8)
    return np.asarray(cv2.cvtColor(hsv[None], cv2.COLOR_HSV2BGR)[0], np.uint8)


def _draw_detections(picture: Image, found: Detections, labels: Sequence[str]) -> None:
    # The surest last, on top; all labels after all boxes, so that no box crosses a label.
    order = [int(index) for index in np.argsort(found.scores, kind="stable")]
    colors = [class_color(int(class_id)) for class_id in found.class_ids]
    corners = _pixel_corners(found, picture)
    line = max(1, round(min(picture.shape[:2]) / 240))
    if found.masks is not None:
        for index in order:
            _blend_mask(picture, found.masks[index], colors[index])
    for index in order:
        x1, y1, x2, y2 = corners[index]
        cv2.rectangle(picture, (x1, y1), (x2, y2), colors[index], line)
    _draw_labels(picture, found, labels, [(index, corners[index], colors[index]) for index in order])


def _draw_labels(
    picture: Image, found: Detections, labels: Sequence[str], boxes: Sequence[tuple[int, list[int], Color]]
) -> None:
    """A plate above each box, or inside at its top where the picture ends; a name takes at most 40% of the picture's
    width, unless its box is wider."""
    lettering = lettering_for((picture.shape[0], picture.shape[1]))
    if lettering is None:
        return
    for index, (x1, y1, x2, _), color in boxes:
        track = "" if found.track_ids is None or found.track_ids[index] < 0 else f" #{found.track_ids[index]}"
        draw_plate(
            picture,
            _name(labels, int(found.class_ids[index])),
            tail=f"{track} {found.scores[index]:.2f}",
            left=x1,
            top=y1 - lettering.height if y1 >= lettering.height else y1,
            max_width=max(x2 - x1, round(0.4 * picture.shape[1])),
            color=color,
            lettering=lettering,
        )


def _pixel_corners(found: Detections, picture: Image) -> list[list[int]]:
    """The first and the last pixel of every box, inside the picture; pixel i covers [i, i + 1)."""
    h, w = picture.shape[:2]
    boxes = np.nan_to_num(found.boxes_xyxy.astype(np.float64), posinf=1e9, neginf=-1e9)
    corners = np.concatenate([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:]) - 1], axis=1)
    inside: list[list[int]] = np.clip(corners, 0, np.array([w, h, w, h]) - 1).astype(int).tolist()
    return inside


def _name(labels: Sequence[str], class_id: int) -> str:
    return labels[class_id] if 0 <= class_id < len(labels) else f"class {class_id}"


def _blend_mask(picture: Image, mask: BoxMask, color: Color) -> None:
    """Tint the pixels of a mask; nothing outside its box is touched."""
    x, y = mask.top_left_xy
    x1, y1 = max(x, 0), max(y, 0)
    x2, y2 = min(x + mask.pixels.shape[1], picture.shape[1]), min(y + mask.pixels.shape[0], picture.shape[0])
    if x2 <= x1 or y2 <= y1:
        return
    region = picture[y1:y2, x1:x2]
    inside = mask.pixels[y1 - y : y2 - y, x1 - x : x2 - x].view(np.uint8)
    # Half and half, in two passes that are each faster than a table or a second picture of the colour.
    tinted = cv2.add(region >> 1, np.array([*color, 0]) / 2)
    cv2.copyTo(tinted, inside, region)


def _draw_semantic(picture: Image, image: Image, found: SemanticMap, labels: Sequence[str]) -> None:
    """The colours of the classes, but the image where the class is called background."""
    class_ids = _as_bytes(found.class_ids)
    _blend_classes(picture, image, class_ids)
    plain = [class_id for class_id, label in enumerate(labels) if label.lower() in _BACKGROUND_LABELS]
    free = np.isin(class_ids, plain).view(np.uint8) if plain else np.zeros_like(class_ids)
    cv2.copyTo(image, free, picture)
    _draw_legend(picture, class_ids, labels, 1 - free)


def _draw_panoptic(picture: Image, image: Image, found: PanopticMap, labels: Sequence[str]) -> None:
    """Segments in the colour of their class, with white lines between them and their names in their middle; what belongs to
    none stays as it is."""
    class_ids = _as_bytes(_classes_of_segments(found))
    _blend_classes(picture, image, class_ids)
    free = (found.segment_ids == 0).view(np.uint8)
    cv2.copyTo(image, free, picture)
    edges = _edges(found.segment_ids).view(np.uint8)
    line = max(1, round(min(picture.shape[:2]) / 480))
    picture[cv2.dilate(edges, np.ones((line, line), np.uint8)) > 0] = 255
    _name_segments(picture, found, labels)


def _name_segments(picture: Image, found: PanopticMap, labels: Sequence[str]) -> None:
    """A plate with class and score in the middle of every segment that is large enough; things last, on top of stuff."""
    lettering = lettering_for((picture.shape[0], picture.shape[1]))
    if lettering is None:
        return
    extents = segment_extents(found)
    for segment in sorted(found.segments, key=lambda s: (s.is_thing, s.score or 0)):
        extent = extents.get(segment.segment_id)
        if extent is None or extent.area < _LEGEND_SHARE * found.segment_ids.size:
            continue
        x, y = _innermost(found.segment_ids, segment.segment_id, extent)
        tail = f" {segment.score:.2f}" if segment.is_thing and segment.score is not None else ""
        name, room = _name(labels, segment.class_id), round(0.4 * picture.shape[1])
        _, width = fitted(name, tail, room, lettering)
        draw_plate(
            picture,
            name,
            tail=tail,
            left=x - width // 2 - lettering.pad,
            top=y - lettering.height // 2,
            max_width=room,
            color=class_color(segment.class_id),
            lettering=lettering,
        )


def _innermost(segment_ids: npt.NDArray[np.int32], segment_id: int, extent: Extent) -> tuple[int, int]:
    """The pixel (x, y) of a segment that is farthest from its edge: it lies inside also where the shape is hollow."""
    x1, y1, x2, y2 = extent.box_xyxy
    inside = np.pad((segment_ids[y1:y2, x1:x2] == segment_id).view(np.uint8), 1)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    _, _, _, (x, y) = cv2.minMaxLoc(distance)
    return x1 + x - 1, y1 + y - 1


def _blend_classes(picture: Image, image: Image, class_ids: Image) -> None:
    cv2.addWeighted(image, 0.5, cv2.applyColorMap(class_ids, palette()[:, None]), 0.5, 0, dst=picture)


def _draw_legend(picture: Image, class_ids: Image, labels: Sequence[str], counted: Image) -> None:
    """The classes of the `counted` pixels on plates along the left edge, the largest first, as many as fit."""
    lettering = lettering_for((picture.shape[0], picture.shape[1]))
    if lettering is None:
        return
    share = cv2.calcHist([class_ids], [0], counted, [_COLORS], [0, _COLORS]).ravel() / class_ids.size
    present = [int(class_id) for class_id in np.argsort(-share, kind="stable") if share[class_id] >= _LEGEND_SHARE]
    step = lettering.height + 2
    for row, class_id in enumerate(present[: picture.shape[0] // step]):
        name, color = _name(labels, class_id), class_color(class_id)
        width = round(0.4 * picture.shape[1])
        draw_plate(picture, name, left=0, top=row * step, max_width=width, color=color, lettering=lettering)


def _classes_of_segments(found: PanopticMap) -> npt.NDArray[np.int64]:
    pairs = sorted([(0, 0), *((segment.segment_id, segment.class_id) for segment in found.segments)])
    ids, classes = np.array(pairs, np.int64).T
    return np.asarray(classes[np.clip(np.searchsorted(ids, found.segment_ids), 0, len(ids) - 1)], np.int64)


def _edges(segment_ids: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    edges = np.zeros(segment_ids.shape, bool)
    edges[:, 1:] |= segment_ids[:, 1:] != segment_ids[:, :-1]
    edges[1:] |= segment_ids[1:] != segment_ids[:-1]
    return edges


def _as_bytes(class_ids: npt.NDArray[np.integer[Any]]) -> Image:
    return np.ascontiguousarray(class_ids if class_ids.dtype == np.uint8 else class_ids % _COLORS, dtype=np.uint8)


def _check_size(found: npt.NDArray[np.integer[Any]], image: Image) -> None:
    if found.shape != image.shape[:2]:
        raise UsageError(f"a map of {found.shape} does not fit an image of {image.shape[:2]}; resize it to the image")
