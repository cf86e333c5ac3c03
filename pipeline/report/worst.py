"""The images on which a candidate is worse than the baseline, and what both find there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.class_maps import class_table
from edgewright.pipeline.datasets import BoxDataset, Dataset, MaskDataset, PanopticDataset
from edgewright.pipeline.datasets._matching import match_labels
from edgewright.pipeline.metrics.image_sums import ImageSums
from edgewright.pipeline.metrics.panoptic import FALSE, HITS, MISSED, OVERLAP
from edgewright.pipeline.panoptic_maps import segment_table
from edgewright.pipeline.per_image import PerImage
from edgewright.pipeline.proposing import names_of
from edgewright.runtime.draw import annotate
from edgewright.runtime.errors import DataError
from edgewright.runtime.predictor import Predictor
from edgewright.runtime.results import Detections, Image, PanopticMap, Result, Segment, SemanticMap
from edgewright.runtime.spec import ModelSpec

if TYPE_CHECKING:
    from edgewright.pipeline.metrics.matches import Matches

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Regressed:
    """An image with its score, 0 to 1, under the candidate and under the baseline.

    `cuts` are the least scores of detections that count, by "candidate" and "baseline"; None of maps.
    """

    image_id: int
    candidate: float
    baseline: float
    cuts: Mapping[str, float] | None = None


@dataclass(frozen=True, eq=False)
class Pictured:
    """What is on a regressed image: `pictures` by title, BGR."""

    regressed: Regressed
    title: str
    pictures: dict[str, Image]


def worst_images(candidate: PerImage, baseline: PerImage, count: int) -> tuple[Regressed, ...]:
    """The images that lost most, the worst first; none where either keeps no such results.

    The score of an image is F1 of its detections at IoU 0.5, from the score on at which F1 of all images is best; of class maps
    the share of its pixels that have the right class; of panoptic maps PQ of its segments, all as of one class.
    """
    if not np.array_equal(candidate.image_ids, baseline.image_ids):
        return ()
    ours, theirs = _image_scores(candidate), _image_scores(baseline)
    if ours is None or theirs is None:
        return ()
    cuts = (
        {"candidate": _cut(candidate.matches[""]), "baseline": _cut(baseline.matches[""])}
        if "" in candidate.matches and "" in baseline.matches
        else None
    )
    order = np.argsort(ours - theirs, kind="stable")[:count]
    return tuple(
        Regressed(int(candidate.image_ids[n]), float(ours[n]), float(theirs[n]), cuts)
        for n in order.tolist()
        if ours[n] < theirs[n]
    )


def pictured(
    regressed: tuple[Regressed, ...], dataset: Dataset, candidate: Predictor, baseline: Predictor
) -> Iterator[Pictured]:
    """Every image with what the two find and what is there; DataError when the data lack one.

    Of the detections those are drawn that the image's score counts: from the cut on, in classes that the data have.
    """
    wanted = {image.image_id: image for image in regressed}
    samples = {sample.image_id: sample for sample in dataset if sample.image_id in wanted}
    missing = sorted(wanted.keys() - samples.keys())
    if missing:
        raise DataError(f"{dataset.uri} has no image {missing[0]}; give the data that the reports were measured on")
    truths = _truths(dataset, candidate.spec, set(wanted))
    sides = {
        title: (predictor, _scored_classes(dataset, predictor.spec))
        for title, predictor in (("candidate", candidate), ("baseline", baseline))
    }
    for image_id, image in wanted.items():
        sample = samples[image_id]
        picture, path = sample.image(), sample.path
        results: dict[str, tuple[Result, tuple[str, ...]]] = {}
        for title, (predictor, kept) in sides.items():
            cut = image.cuts[title] if image.cuts else 0.0
            found = _counted(predictor(picture, names_of(sample)), cut, kept)
            results[title] = (found, predictor.spec.labels)
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
    return None if results.segments is None else _panoptic_quality(results.segments.sums)


def _panoptic_quality(sums: ImageSums) -> Floats:
    """PQ (N,) of all segments of every image as of one class; 1 where nothing is and nothing was found."""
    columns, images = np.unravel_index(sums.cell, sums.shape)[1], len(sums.image_ids)
    overlap, hits, false, missed = (
        np.bincount(sums.image, sums.amount * (columns == column), images) for column in (OVERLAP, HITS, FALSE, MISSED)
    )
    weight = hits + 0.5 * false + 0.5 * missed
    return np.asarray(np.divide(overlap, weight, out=np.ones(images), where=weight > 0))


def _f1(matches: "Matches") -> Floats:
    """F1 (N,) of every image; 1 where nothing is and nothing was found."""
    counts, hit, objects = _at_half(matches)
    used = counts & (matches.score >= _cut(matches))
    found = np.bincount(matches.image[used], minlength=len(objects))
    right = np.bincount(matches.image[used & hit], minlength=len(objects))
    total = found + objects
    return np.asarray(np.divide(2.0 * right, total, out=np.ones(len(objects)), where=total > 0))


def _cut(matches: "Matches") -> float:
    """The score from which on F1 of the detections of all images is best."""
    counts, hit, objects = _at_half(matches)
    return _best_cut(matches.score[counts], hit[counts], int(objects.sum()))


def _at_half(matches: "Matches") -> tuple[Bools, Bools, Ints]:
    """Which detections count and which are right at IoU 0.5, and the number of objects of every image."""
    objects = np.bincount(matches.object_image[(matches.object_areas & 1) > 0], minlength=len(matches.image_ids))
    return (matches.ignored[0] & 1) == 0, (matches.hit[0] & 1).astype(bool), objects


def _best_cut(scores: Floats, hit: Bools, objects: int) -> float:
    """The score from which on F1 of all detections is best."""
    if not len(scores):
        return 0.0
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(hit[order])
    f1 = 2 * right / (np.arange(1, len(order) + 1) + objects)
    return float(scores[order][int(f1.argmax())])


def _scored_classes(dataset: Dataset, spec: ModelSpec) -> Ints:
    """The classes that the data have too; objects of others are not scored."""
    if not isinstance(dataset, BoxDataset) or spec.task not in ("detect", "instance"):
        return np.arange(len(spec.labels))
    return np.flatnonzero([category_id is not None for category_id in match_labels(spec, dataset)])


def _counted(found: Result, cut: float, classes: Ints) -> Result:
    if not isinstance(found, Detections):
        return found
    return found[(found.scores >= cut) & np.isin(found.class_ids, classes)]


def _truths(dataset: Dataset, spec: ModelSpec, image_ids: set[int]) -> dict[int, Result]:
    """What is labelled in the images, in the network's classes; pixels of no label are of one class more."""
    if spec.task == "semantic" and isinstance(dataset, MaskDataset):
        table = class_table(spec, dataset)
        masks = {image_id: table[dataset.class_mask(image_id)] for image_id in image_ids}
        return {image_id: SemanticMap(np.where(mask < 0, len(spec.labels), mask)) for image_id, mask in masks.items()}
    if spec.task == "panoptic" and isinstance(dataset, PanopticDataset):
        return {image_id: _labelled_segments(dataset, spec, image_id) for image_id in image_ids}
    return dict(_labelled_boxes(dataset, spec, image_ids)) if isinstance(dataset, BoxDataset) else {}


def _labelled_segments(dataset: PanopticDataset, spec: ModelSpec, image_id: int) -> PanopticMap:
    classes, labels = dataset.segment_classes, dataset.panoptic_labels(image_id)
    class_of = {classes[k].id: n for n, k in enumerate(segment_table(spec, dataset)) if k is not None}
    things = {one.id for one in classes if one.is_thing}
    segments = (
        Segment(number, class_of[category], category in things)
        for number, category, _ in labels.segments
        if category in class_of
    )
    return PanopticMap(labels.segment_ids, tuple(segments))


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
