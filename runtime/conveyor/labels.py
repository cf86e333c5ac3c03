"""What is seen of the parts: exact boxes and masks of their visible pixels."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgewright.runtime.conveyor.canvas import Canvas
from edgewright.runtime.conveyor.parts import PARTS
from edgewright.runtime.results import Boxes, BoxMask, Image

LABELS: tuple[str, ...] = tuple(PARTS)

# A part carries a label when at least this share of its outline, and so many pixels, are seen.
SMALLEST_VISIBLE_SHARE = 0.25
SMALLEST_VISIBLE_PX = 16


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """A picture BGR uint8 (H, W, 3) and what is seen in it: boxes (N, 4) float32 x1 y1 x2 y2, class_ids (N,) int64
    into LABELS, and N masks of the visible pixels, disjoint; every box is the tight bound of its mask."""

    image: Image
    boxes_xyxy: Boxes
    class_ids: npt.NDArray[np.int64]
    masks: tuple[BoxMask, ...]


def labelled(image: Image, canvas: Canvas) -> LabelledImage:
    """The picture that was made of a canvas, with the parts that are still seen on it."""
    boxes, class_ids, masks = [], [], []
    for owner, thing in enumerate(canvas.laid, start=1):
        if thing.kind not in PARTS:
            continue
        seen = canvas.owner[thing.rect.slices] == owner
        if np.count_nonzero(seen) < max(SMALLEST_VISIBLE_PX, SMALLEST_VISIBLE_SHARE * thing.whole_px):
            continue
        left, top, width, height = cv2.boundingRect(seen.astype(np.uint8))
        x, y = thing.rect.left + left, thing.rect.top + top
        boxes.append((x, y, x + width, y + height))
        class_ids.append(LABELS.index(thing.kind))
        masks.append(BoxMask((x, y), seen[top : top + height, left : left + width].copy()))
    shaped = np.array(boxes, np.float32).reshape(-1, 4)
    return LabelledImage(image, shaped, np.array(class_ids, np.int64), tuple(masks))
