"""COCO average precision and recall of instance masks, and masks as COCO stores them."""

from collections.abc import Sequence
from typing import Any

from faster_coco_eval import mask as mask_library

from edgewright.pipeline.metrics.coco import ANNOTATION, CocoResult, CocoScores, RunLengths, scores
from edgewright.runtime.errors import DataError
from edgewright.runtime.masks import run_counts
from edgewright.runtime.results import BoxMask

PREFIX = "mask-"


def mask_scores(truth: dict[str, Any], results: Sequence[CocoResult], *, max_detections: int = 100) -> CocoScores:
    """AP and AR of `results` by the overlap of their masks with those of `with_masks(labels)`, as "mask-AP", ...

    A result counts as small, medium or large by its mask's area; pycocotools takes the box's where a record has a `bbox`.
    """
    found: list[dict[str, Any]] = [
        {key: result[key] for key in ("image_id", "category_id", "score", "segmentation")} for result in results
    ]
    scored = scores(truth, found, iou_type="segm", max_detections=max_detections)
    renamed = (m.model_copy(update={"name": f"{PREFIX}{m.name}"}) for m in scored.measurements)
    return CocoScores(tuple(renamed), scored.notes)


def with_masks(truth: dict[str, Any]) -> dict[str, Any] | None:
    """COCO ground truth with every mask as run lengths; None when no annotation has one.

    DataError when only some have one, or when one is damaged or does not fit its image.
    """
    if not any(annotation.get("segmentation") for annotation in truth["annotations"]):
        return None
    sizes = {image["id"]: (image.get("height"), image.get("width")) for image in truth["images"]}
    annotations = [
        {**{key: annotation[key] for key in ANNOTATION}, "segmentation": _checked(annotation, sizes)}
        for annotation in truth["annotations"]
    ]
    return {**truth, "annotations": annotations}


def run_lengths(mask: BoxMask, size_hw: tuple[int, int]) -> RunLengths:
    """The mask in an image of `size_hw` as COCO stores it; what lies outside the image is cut off."""
    return _compressed(run_counts(mask, size_hw), size_hw)


def _checked(annotation: dict[str, Any], sizes: dict[int, tuple[Any, Any]]) -> RunLengths:
    mask, image_id = annotation.get("segmentation"), annotation["image_id"]
    where, size_hw = f"annotation {annotation['id']} of image {image_id}", sizes[image_id]
    if not all(isinstance(side, int) and side > 0 for side in size_hw):
        raise DataError(f"image {image_id} states no height and width, which its masks need; add them to the file")
    if not mask:
        raise DataError(f"{where} has no segmentation, others have; give every object its mask, or none")
    if isinstance(mask, dict):
        return _checked_runs(mask, size_hw, where)
    if not isinstance(mask, list) or not all(_is_polygon(ring) for ring in mask):
        raise DataError(
            f"{where}: its segmentation is neither run lengths nor polygons [[x, y, x, y, x, y, ...]]; repair it"
        )
    rings = [[float(value) for value in ring] for ring in mask]
    return _stored(mask_library.merge(mask_library.frPyObjects(rings, *size_hw)), size_hw)


def _checked_runs(mask: dict[str, Any], size_hw: tuple[int, int], where: str) -> RunLengths:
    counts, size = mask.get("counts"), mask.get("size")
    if size != list(size_hw):
        raise DataError(
            f"{where}: its mask is made for {size}, the image is {list(size_hw)} (height, width); repair it"
        )
    try:
        if isinstance(counts, list):
            return _compressed(counts, size_hw)
        stored = _stored(mask, size_hw)
        mask_library.decode(stored)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as err:
        raise DataError(f"{where}: the run lengths of its mask are damaged ({err}); repair it") from err
    return stored


def _compressed(counts: list[int], size_hw: tuple[int, int]) -> RunLengths:
    height, width = size_hw
    if sum(counts) != height * width or min(counts) < 0:
        raise ValueError(f"they cover {sum(counts)} pixels of {height * width}")
    return _stored(mask_library.frPyObjects({"size": [height, width], "counts": counts}, height, width), size_hw)


def _stored(mask: dict[str, Any], size_hw: tuple[int, int]) -> RunLengths:
    counts = mask["counts"]
    return {"size": list(size_hw), "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}


def _is_polygon(ring: object) -> bool:
    numbers = isinstance(ring, list) and all(isinstance(value, (int, float)) for value in ring)
    return isinstance(ring, list) and numbers and len(ring) >= 6 and len(ring) % 2 == 0
