"""Masks of a promptable network against those of a data set, whose labels say where to point."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.console import progress
from edgewright.pipeline.datasets import BoxDataset, Dataset
from edgewright.pipeline.metrics.image_sums import Floats, sums_of
from edgewright.pipeline.metrics.prompted import ANSWER, BEST, OBJECTS, PromptedOverlaps
from edgewright.pipeline.per_image import PerImage
from edgewright.pipeline.scored import Scored
from edgewright.runtime.errors import DataError, UsageError
from edgewright.runtime.prompter import Prompter
from edgewright.runtime.prompts import Prompt, make_prompts
from edgewright.runtime.results import BoxMask, Image

if TYPE_CHECKING:
    from edgewright.pipeline.metrics.coco import RunLengths

# "box": the labelled box. "center": one point in the middle of the mask, where it is farthest from the mask's edge.
Prompts = Literal["box", "center"]


@dataclass(frozen=True, eq=False)
class _Object:
    prompt: Prompt
    class_index: int
    mask: "RunLengths"


def mask_dataset(dataset: Dataset, name: str) -> BoxDataset:
    """The data set, when its objects have masks to point at; UsageError otherwise."""
    if not isinstance(dataset, BoxDataset):
        raise UsageError(
            f"data '{dataset.uri}' has no objects to point at, which {name} needs; give coco:IMAGES_DIR:ANNOTATIONS.json, or "
            "davis:ROOT of videos"
        )
    return dataset


def score_prompts(prompter: Prompter, dataset: BoxDataset, prompts: Prompts) -> Scored:
    """The mean overlap (IoU) of the masks with the objects that `prompts` point at, one prompt for each; crowds are left out.

    An answer below the confidence threshold counts as none. DataError when the labels have no masks.
    """
    truth = _masks(dataset)
    index = {category.id: number for number, category in enumerate(dataset.categories)}
    by_image: dict[int, list[dict[str, Any]]] = {}
    for annotation in truth["annotations"]:
        if not annotation.get("iscrowd"):
            by_image.setdefault(annotation["image_id"], []).append(annotation)
    ids, tables, skipped = [], [], 0
    for sample in progress(dataset, total=len(dataset), description="evaluate"):
        labelled = by_image.get(sample.image_id, [])
        image = sample.image() if labelled else None
        objects = [] if image is None else [_object(one, index, prompts, image) for one in labelled]
        shown = [one for one in objects if one is not None]
        skipped += len(objects) - len(shown)
        ids.append(sample.image_id)
        tables.append(_overlaps(prompter, image, shown, len(index)))
    labels = tuple(category.name for category in dataset.categories)
    overlaps = PromptedOverlaps(prompts, labels, sums_of(ids, tables, (len(labels), 3)))
    measurements = overlaps.measurements()
    if not measurements:
        raise DataError(f"data '{dataset.uri}' has no object with a mask, so nothing can be scored; use other images")
    notes = (f"{skipped} objects without area are not scored",) if skipped else ()
    return Scored(measurements, (*dataset.notes, *notes), PerImage(prompted=overlaps))


def _masks(dataset: BoxDataset) -> dict[str, Any]:
    from edgewright.pipeline.metrics.coco_masks import with_masks

    truth = with_masks(dataset.coco_ground_truth())
    if truth is None:
        raise DataError(f"data '{dataset.uri}' has boxes but no masks to compare with; use labels with segmentations")
    return truth


def _object(annotation: dict[str, Any], index: dict[int, int], prompts: Prompts, image: Image) -> _Object | None:
    """None for what has no area in the image."""
    from faster_coco_eval import mask as mask_library

    height, width = image.shape[:2]
    x, y, w, h = annotation["bbox"]
    x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    mask = annotation["segmentation"]
    if x1 >= x2 or y1 >= y2:
        return None
    if prompts == "box":
        (prompt,) = make_prompts(boxes_xyxy=[x1, y1, x2, y2])
        return _Object(prompt, index[annotation["category_id"]], mask)
    pixels = np.asarray(mask_library.decode(mask), bool)
    return _Object(prompt_of(pixels, prompts), index[annotation["category_id"]], mask) if pixels.any() else None


def prompt_of(pixels: npt.NDArray[np.bool_], prompts: Prompts) -> Prompt:
    """What points at the object of these pixels (H, W), of which there is one at least."""
    if prompts == "center":
        (prompt,) = make_prompts(points_xy=[_middle(pixels)])
        return prompt
    x, y = (np.flatnonzero(pixels.any(axis=axis)) for axis in (0, 1))
    (prompt,) = make_prompts(boxes_xyxy=[x[0], y[0], x[-1] + 1, y[-1] + 1])
    return prompt


def _middle(pixels: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """The pixel x, y of a mask that lies farthest from its edge."""
    import cv2

    # A border, so that the image's edge is the mask's edge too.
    distance = cv2.distanceTransform(np.pad(pixels.astype(np.uint8), 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    y, x = np.unravel_index(int(np.argmax(distance)), distance.shape)
    return int(x) - 1, int(y) - 1


def _overlaps(prompter: Prompter, image: Image | None, objects: Sequence[_Object], classes: int) -> Floats:
    table = np.zeros((classes, 3))
    if image is None or not objects:
        return table
    prompter.set_image(image)
    size_hw = image.shape[0], image.shape[1]
    for one in objects:
        answer, others = prompter.answers(one.prompt)
        overlaps = _iou([*(answer.masks or ()), *(others.masks or ())], one.mask, size_hw)
        table[one.class_index, OBJECTS] += 1
        table[one.class_index, ANSWER] += overlaps[0] if len(answer) else 0.0
        table[one.class_index, BEST] += max(overlaps, default=0.0)
    return table


def _iou(found: Sequence[BoxMask], mask: "RunLengths", size_hw: tuple[int, int]) -> list[float]:
    from faster_coco_eval import mask as mask_library

    from edgewright.pipeline.metrics.coco_masks import run_lengths

    if not found:
        return []
    values: npt.NDArray[np.float64] = mask_library.iou([run_lengths(one, size_hw) for one in found], [mask], [0])
    return [float(value) for value in values[:, 0]]
