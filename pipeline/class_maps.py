"""Class maps of a network against the class masks of a data set."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.console import progress
from edgewright.pipeline.datasets import MaskDataset
from edgewright.pipeline.datasets._matching import same_name
from edgewright.pipeline.metrics.boundary import BoundaryCounts, count_boundaries
from edgewright.pipeline.metrics.cross_entropy import NAME as CROSS_ENTROPY
from edgewright.pipeline.metrics.cross_entropy import cross_entropy
from edgewright.pipeline.metrics.image_sums import sums_of
from edgewright.pipeline.metrics.semantic import IGNORED, PixelCounts, confusion, map_scores
from edgewright.pipeline.per_image import PerImage
from edgewright.pipeline.report.schema import Measurement
from edgewright.pipeline.scored import Scored, further
from edgewright.runtime.errors import DataError, UsageError
from edgewright.runtime.geometry import Placement
from edgewright.runtime.masks import cells_under, output_grid
from edgewright.runtime.predictor import Predictor
from edgewright.runtime.results import SemanticMap
from edgewright.runtime.spec import ModelSpec
from edgewright.runtime.tiling import tile_grid, whole_spec

# PASCAL VOC, Cityscapes' training ids and most others mark unlabelled pixels so.
_USUAL_IGNORED = 255
_UNKNOWN = -2
_NUMBERS = 1 << 16

Table = npt.NDArray[np.int32]


def class_table(spec: ModelSpec, dataset: MaskDataset) -> Table:
    """Which label every number of the masks means, (65536,), IGNORED or unknown; DataError when names disagree."""
    table = np.full(_NUMBERS, _UNKNOWN, np.int32)
    table[_USUAL_IGNORED] = IGNORED
    numbers = spec.category_ids or tuple(range(len(spec.labels)))
    named = {category.id: category.name for category in dataset.classes}
    for class_id, (number, label) in enumerate(zip(numbers, spec.labels, strict=True)):
        if number in named and not same_name(named[number], label):
            raise DataError(
                f"{dataset.uri} calls class {number} '{named[number]}', {spec.name} calls it '{label}'; "
                "export the bundle with the labels in the order of the network's outputs, or use the data it belongs to"
            )
        table[number] = class_id
    if spec.head.ignore_id is not None:
        table[spec.head.ignore_id] = IGNORED
    return table


def score_maps(predictor: Predictor, dataset: MaskDataset, table: Table) -> Scored:
    """Scores over all pixels of the data set whose numbers `table` gives a label: mIoU, Dice and pixel accuracy, boundary IoU,
    and where the network gives logits or probabilities, their cross entropy."""
    spec = predictor.spec
    ids, counted, boundaries, ignored, surprise = [], [], [], 0, _Surprise()
    for sample in progress(dataset, total=len(dataset), description="evaluate"):
        where, image = str(sample.path or sample.image_id), sample.image()
        feeds, placement = predictor.prepare(image)
        outputs = predictor.infer(feeds)
        found = predictor.finish(outputs, placement)
        if not isinstance(found, SemanticMap):
            raise UsageError(f"{spec.name} gives {type(found).__name__}, class masks need a SemanticMap")
        truth = true_classes(dataset.class_mask(sample.image_id), table, found, where, spec)
        ids.append(sample.image_id)
        counted.append(confusion(truth, found.class_ids, len(spec.labels)))
        boundaries.append(count_boundaries(truth, found.class_ids, len(spec.labels)))
        ignored += int(np.count_nonzero(truth == IGNORED))
        surprise.add(outputs, truth, placement, spec)
    sums = sums_of(ids, counted, (len(spec.labels), len(spec.labels) + 1))
    counts = PixelCounts(spec.labels, spec.head.background_id, ignored_label(spec), sums)
    total = sums.total()
    _refuse_lost_class(total, ignored, spec)
    scores = map_scores(total, spec.labels, background_id=counts.background_id, ignored_id=counts.ignored_id)
    edges = BoundaryCounts(spec.labels, counts.ignored_id, sums_of(ids, boundaries, (len(spec.labels), 3)))
    kept = PerImage(pixels=counts, boundaries=edges)
    share = f"{ignored / (ignored + total.sum()):.1%} of the pixels are marked as not to be scored"
    measured = (*scores.measurements, *further(kept, scores.measurements), *surprise.measured())
    return Scored(measured, (*scores.notes, *([share] if ignored else [])), kept)


class _Surprise:
    """The cross entropy of all pixels, where the network says how sure it is."""

    def __init__(self) -> None:
        self._nats, self._pixels = 0.0, 0

    def add(self, outputs: Mapping[str, npt.NDArray[Any]], truth: Table, placement: Placement, spec: ModelSpec) -> None:
        ((role, name),) = spec.head.outputs.items()
        if role == "class_ids":
            return
        if spec.tiling is not None:
            spec = whole_spec(spec, tile_grid(spec, spec.tiling), placement)
        planes = outputs[name].reshape(-1, *outputs[name].shape[-2:])
        grid = output_grid(placement, spec.preprocess.size_hw, planes.shape[-2:])
        # As the head does: a letterbox leaves cells around the image that say nothing about it.
        x1, y1, x2, y2 = cells_under((0, 0, truth.shape[1], truth.shape[0]), grid, planes.shape[-2:])
        own = np.asarray(planes[:, y1:y2, x1:x2], np.float32)
        nats, pixels = cross_entropy(own, truth, grid.shifted((x1, y1)))
        self._nats, self._pixels = self._nats + nats, self._pixels + pixels

    def measured(self) -> list[Measurement]:
        if not self._pixels:
            return []
        mean = self._nats / self._pixels
        return [Measurement(name=CROSS_ENTROPY, value=mean, unit="nats", higher_is_better=False)]


def true_classes(mask: npt.NDArray[Any], table: Table, found: SemanticMap, where: str, spec: ModelSpec) -> Table:
    """The label of every pixel (H, W) of the mask of the image `where`, or IGNORED; DataError when it does not fit what was
    found, or holds a number without a label."""
    if mask.shape != found.class_ids.shape:
        raise DataError(f"{where}: the mask is {_size(mask)}, the image {_size(found.class_ids)}; they must be alike")
    truth: Table = table[mask]
    _refuse_unknown(mask, truth, where, spec)
    return truth


def _refuse_unknown(mask: npt.NDArray[Any], truth: Table, where: str, spec: ModelSpec) -> None:
    unknown = np.unique(mask[truth == _UNKNOWN])
    if len(unknown):
        few = ", ".join(map(str, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
        raise DataError(
            f"{where}: its mask holds {few}, which no label of {spec.name} stands for ({len(spec.labels)} labels, numbered "
            f"{'by their ids' if spec.category_ids else 'from 0'}); give the labels the data's ids (label<TAB>id), or name "
            "the number of unlabelled pixels with ignore_id"
        )


def _refuse_lost_class(counts: npt.NDArray[np.float64], ignored: int, spec: ModelSpec) -> None:
    """Masks of 0 and 255 are how tools store one class; ignoring its 255 would leave nothing but background."""
    if len(spec.labels) == 2 and ignored and not counts[1].any() and spec.category_ids is None:
        raise DataError(
            f"no pixel is labelled '{spec.labels[1]}', and {ignored} hold {_USUAL_IGNORED}, which means unlabelled; "
            f"if it means '{spec.labels[1]}', export the bundle with labels that say so: {spec.labels[1]}<TAB>{_USUAL_IGNORED}"
        )


def ignored_label(spec: ModelSpec) -> int | None:
    """The label of unlabelled pixels, where the network has one."""
    numbers = spec.category_ids or tuple(range(len(spec.labels)))
    return numbers.index(spec.head.ignore_id) if spec.head.ignore_id in numbers else None


def _size(pixels: npt.NDArray[Any]) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
