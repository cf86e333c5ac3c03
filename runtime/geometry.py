"""Boxes, and how an image was placed into the input tensor."""

from dataclasses import dataclass, field

import numpy as np

from edgewright.runtime.results import Boxes, Image
from edgewright.runtime.spec import PreprocessSpec


@dataclass(frozen=True)
class Placement:
    """Where an image of `source_hw` lies in the input tensor: x_tensor = x_image * scale_xy + offset_xy.

    Coordinates are continuous: pixel i covers [i, i + 1). `placed_hw` is the size of the resized image in the tensor.
    """

    source_hw: tuple[int, int]
    placed_hw: tuple[int, int]
    offset_xy: tuple[int, int]

    @property
    def scale_xy(self) -> tuple[float, float]:
        return self.placed_hw[1] / self.source_hw[1], self.placed_hw[0] / self.source_hw[0]

    def to_tensor(self, boxes_xyxy: Boxes) -> Boxes:
        """Boxes (N, 4) in image pixels → the same boxes in tensor pixels."""
        scale = np.array(self.scale_xy * 2, np.float32)
        return (boxes_xyxy * scale + np.array(self.offset_xy * 2, np.float32)).astype(np.float32)

    def to_image(self, boxes_xyxy: Boxes) -> Boxes:
        """Boxes (N, 4) in tensor pixels → image pixels, clipped to the image; the inverse of `to_tensor`."""
        scale = np.array(self.scale_xy * 2, np.float32)
        return clip_boxes((boxes_xyxy - np.array(self.offset_xy * 2, np.float32)) / scale, self.source_hw)


@dataclass(frozen=True)
class PlacedImage(Placement):
    """A placement with the image itself, BGR uint8 (H, W, 3), for a head that looks at it again."""

    image: Image = field(repr=False, compare=False)


def place(source_hw: tuple[int, int], spec: PreprocessSpec) -> Placement:
    """How `spec` places an image of `source_hw` into its tensor.

    A letterboxed side is rounded to whole pixels, and the scale of each axis follows the rounded size, so that the
    inverse is exact; odd padding gives the extra pixel to the right and the bottom.
    """
    (h, w), (th, tw) = source_hw, spec.size_hw
    if spec.resize == "stretch":
        return Placement(source_hw, (th, tw), (0, 0))
    ratio = min(th / h, tw / w)
    # The floor forgives 1e-6, so that 640 * (416 / 640) is 416 and not 415.
    whole = round if spec.rounding == "nearest" else lambda side: int(side + 1e-6)
    placed = (min(th, max(1, whole(h * ratio))), min(tw, max(1, whole(w * ratio))))
    if spec.resize == "letterbox_top_left":
        return Placement(source_hw, placed, (0, 0))
    return Placement(source_hw, placed, ((tw - placed[1]) // 2, (th - placed[0]) // 2))


def clip_boxes(boxes_xyxy: Boxes, size_hw: tuple[int, int]) -> Boxes:
    """Boxes (N, 4) with every corner moved inside the image of `size_hw`."""
    h, w = size_hw
    return np.clip(boxes_xyxy, 0, np.array([w, h, w, h], np.float32)).astype(np.float32, copy=False)


def box_area(boxes_xyxy: Boxes) -> Boxes:
    """The areas (N,) of boxes (N, 4) in square pixels; 0 for a box that is turned inside out."""
    sides = np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0)
    return np.asarray(sides[:, 0] * sides[:, 1], np.float32)


def box_iou(a_xyxy: Boxes, b_xyxy: Boxes) -> Boxes:
    """Intersection over union (N, M) of boxes (N, 4) and (M, 4), in [0, 1]; 0 where both are empty."""
    low = np.maximum(a_xyxy[:, None, :2], b_xyxy[None, :, :2])
    high = np.minimum(a_xyxy[:, None, 2:], b_xyxy[None, :, 2:])
    sides = np.maximum(high - low, 0)
    inter = sides[..., 0] * sides[..., 1]
    union = box_area(a_xyxy)[:, None] + box_area(b_xyxy)[None, :] - inter
    return np.asarray(np.divide(inter, union, out=np.zeros_like(inter), where=union > 0), np.float32)


def to_xyxy(boxes_cxcywh: Boxes) -> Boxes:
    """Boxes (N, 4) as centre and size → corners."""
    half = boxes_cxcywh[:, 2:] / 2
    return np.concatenate([boxes_cxcywh[:, :2] - half, boxes_cxcywh[:, :2] + half], axis=1)
