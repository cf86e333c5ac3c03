"""What a frame and its results look like in a few numbers, whose distribution tells when the world in front of a camera changes."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgewright.runtime.results import Detections, Frame, Image, PanopticMap, Result, SemanticMap

Floats = npt.NDArray[np.float64]
# About so many rows of a picture are looked at: enough for means and edges, a small part of the time of any network.
_ROWS = 120
THUMBNAIL_HW = (12, 16)
# ITU-R BT.601, of blue, green and red.
_LUMA = np.array([0.114, 0.587, 0.299])


@dataclass(frozen=True)
class Signal:
    """A named number of every frame, or of every object: its unit, and the least change of it that counts.

    The least changes are a choice of this project, not measured: smaller ones are taken not to matter, however sure they are.
    """

    name: str
    unit: str
    least: float


# Of the picture.
PICTURE = (
    Signal("brightness", "grey levels", 8.0),
    Signal("contrast", "grey levels", 6.0),
    Signal("sharpness", "octaves", 0.4),
    Signal("red", "% of the light", 1.0),
    Signal("blue", "% of the light", 1.0),
    Signal("scene", "of 1", 0.05),
)
# Of the objects in it.
OBJECTS = (
    Signal("detections", "a frame", 0.5),
    Signal("scores", "of 1", 0.05),
    Signal("sizes", "% of the side", 2.0),
    Signal("x", "% of the width", 5.0),
    Signal("y", "% of the height", 5.0),
)
CLASSES = Signal("classes", "of 1", 0.1)


@dataclass(frozen=True, eq=False)
class FrameSignals:
    """Those of one frame. `picture` are the values of PICTURE but `scene`, which compares the `thumbnail` with another.

    `objects` (n, 4) are score, size, x and y of every object; of a class map there are none. `classes` (C,) is how much of each
    class there is: objects, or the share of the pixels.
    """

    picture: Floats
    thumbnail: npt.NDArray[np.uint8]
    objects: Floats | None
    classes: Floats


def signals_of(frame: Frame, result: Result, classes: int) -> FrameSignals:
    """The signals of a frame, in about a millisecond."""
    objects, amounts = _found(frame, result, classes)
    return FrameSignals(*_of_picture(frame.image), objects, amounts)


def scene_distance(thumbnails: npt.NDArray[np.uint8], reference: npt.NDArray[np.uint8]) -> Floats:
    """How unlike the reference the light and shade of pictures (n, h * w) are: 1 less the correlation, whatever the brightness."""
    rows, wanted = thumbnails.astype(np.float64), reference.astype(np.float64)
    rows, wanted = rows - rows.mean(axis=1, keepdims=True), wanted - wanted.mean()
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(wanted)
    likeness: Floats = np.divide(rows @ wanted, norms, out=np.zeros(len(rows)), where=norms > 0)
    return 1 - likeness


def values_of(frames: Sequence[FrameSignals], reference: npt.NDArray[np.uint8]) -> dict[str, Floats]:
    """The values of every signal but the classes: one for each frame, or of each object."""
    picture = np.stack([frame.picture for frame in frames])
    thumbnails = np.stack([frame.thumbnail for frame in frames])
    columns = [*picture.T, scene_distance(thumbnails, reference)]
    found = {signal.name: column for signal, column in zip(PICTURE, columns, strict=True)}
    objects = [frame.objects for frame in frames if frame.objects is not None]
    if not objects:
        return found
    found["detections"] = np.array([len(some) for some in objects], np.float64)
    every = np.concatenate(objects)
    return found | {signal.name: every[:, k] for k, signal in enumerate(OBJECTS[1:])}


def class_shares(frames: Sequence[FrameSignals]) -> Floats:
    """How the objects, or the pixels, are shared among the classes; zeros when there are none."""
    total = np.sum([frame.classes for frame in frames], axis=0)
    shares: Floats = total / max(total.sum(), 1e-12)
    return shares


def _of_picture(image: Image) -> tuple[Floats, npt.NDArray[np.uint8]]:
    step = max(1, image.shape[0] // _ROWS)
    # Whole rows: every second pixel of one would hide whether it is sharp.
    rows = image[::step]
    blue, green, red = (float(v) for v in cv2.mean(rows)[:3])
    grey = cv2.cvtColor(rows, cv2.COLOR_BGR2GRAY).astype(np.float32)
    deviation = float(grey.std())
    # Energy of the gradient (Pertuz et al., "Analysis of focus measure operators", Pattern Recognition 46, 2013), by the contrast.
    edges = float(np.mean(np.diff(grey, axis=1) ** 2)) / max(deviation**2, 1.0)
    light = max(blue + green + red, 1e-6)
    values = [float(np.dot((blue, green, red), _LUMA)), deviation, float(np.log2(max(edges, 1e-6)))]
    thumbnail = cv2.resize(grey, THUMBNAIL_HW[::-1], interpolation=cv2.INTER_AREA)
    return np.array([*values, 100 * red / light, 100 * blue / light]), np.rint(thumbnail).astype(np.uint8).ravel()


def _found(frame: Frame, result: Result, classes: int) -> tuple[Floats | None, Floats]:
    height, width = frame.size_hw
    if isinstance(result, SemanticMap):
        counts = np.bincount(np.clip(result.class_ids, 0, classes - 1).ravel(), minlength=classes)
        return None, counts / max(counts.sum(), 1)
    if isinstance(result, PanopticMap):
        ids = np.array([segment.class_id for segment in result.segments], np.int64)
        scores = [segment.score or 0.0 for segment in result.segments]
        nowhere = np.zeros((len(ids), 3))
        return np.column_stack([scores, nowhere]), np.bincount(ids, minlength=classes).astype(np.float64)
    return _objects(result, height, width), np.bincount(result.class_ids, minlength=classes).astype(np.float64)


def _objects(found: Detections, height: int, width: int) -> Floats:
    boxes = found.boxes_xyxy.astype(np.float64)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    size = 100 * np.sqrt(sides.prod(axis=1) / (height * width))
    centre = 100 * (boxes[:, :2] + boxes[:, 2:]) / 2 / np.array([width, height])
    return np.column_stack([found.scores.astype(np.float64), size, centre])
