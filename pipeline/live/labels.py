"""What a labelled source says of a frame, in the form in which the metrics take it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.datasets import PanopticLabels
from edgewright.runtime.errors import UsageError
from edgewright.runtime.results import Detections, Frame, SemanticMap

LABELS = "labels"
Record = dict[str, Any]


@dataclass(frozen=True, eq=False)
class FrameLabels:
    """What `Frame.truth` cannot say of a frame of a data set; it stands in the frame's `meta` under "labels".

    `annotations` are COCO records of its objects (crowds, areas, masks as run lengths), `panoptic` its segments.
    """

    image_id: int
    annotations: tuple[Record, ...] = ()
    panoptic: PanopticLabels | None = None


def image_id(frame: Frame) -> int:
    """The data set's number of the picture, else its number in the source."""
    known = frame.meta.get(LABELS)
    return known.image_id if isinstance(known, FrameLabels) else frame.index


def annotations(frame: Frame, *, masks: bool) -> Sequence[Record]:
    """The objects of the frame as COCO records; of a source that says them by `truth` alone, its class ids are categories."""
    known = frame.meta.get(LABELS)
    if isinstance(known, FrameLabels):
        return known.annotations
    truth = _objects(frame)
    boxes = truth.boxes_xyxy.astype(np.float64)
    sizes = boxes[:, 2:] - boxes[:, :2]
    areas = [float(mask.pixels.sum()) for mask in truth.masks] if truth.masks else sizes.prod(axis=1).tolist()
    records = [
        {
            "image_id": frame.index,
            "category_id": int(class_id),
            "bbox": [*box[:2], *size],
            "area": area,
            "iscrowd": 0,
        }
        for class_id, box, size, area in zip(truth.class_ids, boxes.tolist(), sizes.tolist(), areas, strict=True)
    ]
    if masks and truth.masks:
        from edgewright.pipeline.metrics.coco_masks import run_lengths

        for record, mask in zip(records, truth.masks, strict=True):
            record["segmentation"] = run_lengths(mask, frame.size_hw)
    return records


def class_mask(frame: Frame) -> npt.NDArray[np.integer[Any]]:
    """The class of every pixel (H, W): as `truth` says it, or of a film of labelled parts 0 where there is none."""
    if isinstance(frame.truth, SemanticMap):
        return frame.truth.class_ids
    truth = _objects(frame)
    ids = np.zeros(frame.size_hw, np.uint8)
    for class_id, mask in zip(truth.class_ids, truth.masks or (), strict=True):
        ids[mask.paste(frame.size_hw)] = class_id + 1
    return ids


def segments(frame: Frame) -> PanopticLabels:
    """The segments of the frame; of a film of labelled parts, each of them and one background, as in its data set."""
    known = frame.meta.get(LABELS)
    if isinstance(known, FrameLabels) and known.panoptic is not None:
        return known.panoptic
    truth = _objects(frame)
    ids = np.ones(frame.size_hw, np.int32)
    for number, mask in enumerate(truth.masks or (), start=2):
        ids[mask.paste(frame.size_hw)] = number
    parts = [(number, int(class_id) + 1, False) for number, class_id in enumerate(truth.class_ids, start=2)]
    background = [(1, 0, False)] if (ids == 1).any() else []
    return PanopticLabels(ids, (*background, *parts))


def _objects(frame: Frame) -> Detections:
    if not isinstance(frame.truth, Detections):
        raise UsageError(f"frame {frame.index} of {frame.source} has no labels of objects; check the source")
    return frame.truth
