"""The images on which a candidate is worse than the baseline, and what both find there."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.class_maps import class_table
from edgewright.pipeline.datasets import BoxDataset, Dataset, MaskDataset
from edgewright.pipeline.datasets._matching import match_labels
from edgewright.pipeline.per_image import PerImage
from edgewright.runtime.draw import annotate
from edgewright.runtime.errors import DataError
from edgewright.runtime.predictor import Predictor
from edgewright.runtime.results import Detections, Image, Result, SemanticMap
from edgewright.runtime.spec import ModelSpec

if TYPE_CHECKING:
    from edgewright.pipeline.metrics.matches import Matches

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Regressed:
    """An image with its score, 0 to 1, under the candidate and under the baseline."""

    image_id: int
    candidate: float
    baseline: float


@dataclass(frozen=True, eq=False)
class Pictured:
    """What is on a regressed image: `pictures` by title, BGR."""

    regressed: Regressed
    title: str
    pictures: dict[str, Image]


def worst_images(candidate: PerImage, baseline: PerImage, count: int) -> tuple[Regressed, ...]:
    """The images that lost most, the worst first; none where either keeps no such results.

    The score of an image is F1 of its detections at IoU 0.5, from the score on at which F1 of all images is best; of class maps
    the share of its pixels that have the right class.
    """
    if not np.array_equal(candidate.image_ids, baseline.image_ids):
        return ()
    ours, theirs = _image_scores(candidate), _image_scores(baseline)
    if ours is None or theirs is None:
        return ()
    order = np.argsort(ours - theirs, kind="stable")[:count]
    return tuple(
        Regressed(int(candidate.image_ids[n]), float(ours[n]), float(theirs[n]))
        for n in order.tolist()
        if ours[n] < theirs[n]
    )


def pictured(
    regressed: tuple[Regressed, ...], dataset: Dataset, candidate: Predictor, baseline: Predictor
) -> Iterator[Pictured]:
    """Every image with what the two find and what is there; DataError when the data lack one."""
    wanted = {image.image_id: image for image in regressed}
    samples = {sample.image_id: sample for sample in dataset if sample.image_id in wanted}
    missing = sorted(wanted.keys() - samples.keys())
    if missing:
        raise DataError(f"{dataset.uri} has no image {missing[0]}; give the data that the reports were measured on")
    truths = _truths(dataset, candidate.spec, set(wanted))
    for image_id, image in wanted.items():
        picture, path = samples[image_id].image(), samples[image_id].path
        results = {
            "candidate": (candidate(picture), candidate.spec.labels),
            "baseline": (baseline(picture), baseline.spec.labels),
        }
        if image_id in truths:
            results["truth"] = (truths[image_id], (*candidate.spec.labels, "not labelled"))
        yield Pictured(
            image,
            path.name if path else f"image {image_id}",
            {title: annotate(picture, found, labels) for title, (found, labels) in results.items()},
        )


def _image_scores(results: PerImage) -> Floats | None:
    if "" in results.matches:
        return _f1(results.matches[""])
    if results.pixels is not None:
        sums = results.pixels.sums
        row, column = np.unravel_index(sums.cell, sums.shape)
        images = len(sums.image_ids)
        right = np.bincount(sums.image, sums.amount * (row == column), images)
        return np.asarray(right / np.maximum(np.bincount(sums.image, sums.amount, images), 1), np.float64)
    return None


def _f1(matches: "Matches") -> Floats:
    """F1 (N,) of every image; 1 where nothing is and nothing was found."""
    counts = (matches.ignored[0] & 1) == 0
    hit = (matches.hit[0] & 1).astype(bool)
    objects = np.bincount(matches.object_image[(matches.object_areas & 1) > 0], minlength=len(matches.image_ids))
    cut = _best_cut(matches.score[counts], hit[counts], int(objects.sum()))
    used = counts & (matches.score >= cut)
    found = np.bincount(matches.image[used], minlength=len(objects))
    right = np.bincount(matches.image[used & hit], minlength=len(objects))
    total = found + objects
    return np.asarray(np.divide(2.0 * right, total, out=np.ones(len(objects)), where=total > 0))


def _best_cut(scores: Floats, hit: npt.NDArray[np.bool_], objects: int) -> float:
    """The score from which on F1 of all detections is best."""
    if not len(scores):
        return 0.0
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(hit[order])
    f1 = 2 * right / (np.arange(1, len(order) + 1) + objects)
    return float(scores[order][int(f1.argmax())])


def _truths(dataset: Dataset, spec: ModelSpec, image_ids: set[int]) -> dict[int, Result]:
    """What is labelled in the images, in the network's classes; pixels of no label are of one class more."""
    if spec.task == "semantic" and isinstance(dataset, MaskDataset):
        table = class_table(spec, dataset)
        masks = {image_id: table[dataset.class_mask(image_id)] for image_id in image_ids}
        return {image_id: SemanticMap(np.where(mask < 0, len(spec.labels), mask)) for image_id, mask in masks.items()}
    return dict(_labelled_boxes(dataset, spec, image_ids)) if isinstance(dataset, BoxDataset) else {}


def _labelled_boxes(dataset: BoxDataset, spec: ModelSpec, image_ids: set[int]) -> dict[int, Detections]:
    class_of = {category_id: n for n, category_id in enumerate(match_labels(spec, dataset)) if category_id is not None}
    objects: dict[int, list[tuple[list[float], int]]] = {image_id: [] for image_id in image_ids}
    for annotation in dataset.coco_ground_truth()["annotations"]:
        if annotation["image_id"] in objects and annotation["category_id"] in class_of:
            objects[annotation["image_id"]].append((annotation["bbox"], class_of[annotation["category_id"]]))
    return {image_id: _detections(found) for image_id, found in objects.items()}


def _detections(objects: list[tuple[Any, int]]) -> Detections:
    boxes = np.array([box for box, _ in objects], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return Detections(boxes, np.ones(len(objects), np.float32), np.array([n for _, n in objects], np.int64))
