"""Class maps of a network against the class masks of a data set."""

from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.console import progress
from edgewright.pipeline.datasets import MaskDataset
from edgewright.pipeline.datasets._matching import same_name
from edgewright.pipeline.metrics.image_sums import sums_of
from edgewright.pipeline.metrics.semantic import IGNORED, PixelCounts, confusion, map_scores
from edgewright.pipeline.per_image import PerImage
from edgewright.pipeline.scored import Scored
from edgewright.runtime.errors import DataError, UsageError
from edgewright.runtime.predictor import Predictor
from edgewright.runtime.results import SemanticMap
from edgewright.runtime.spec import ModelSpec

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
    """mIoU, Dice and pixel accuracy over all pixels of the data set whose numbers `table` gives a label."""
    spec = predictor.spec
    ids, tables, ignored = [], [], 0
    for sample in progress(dataset, total=len(dataset), description="evaluate"):
        where = str(sample.path or sample.image_id)
        found = predictor(sample.image())
        if not isinstance(found, SemanticMap):
            raise UsageError(f"{spec.name} gives {type(found).__name__}, class masks need a SemanticMap")
        mask = dataset.class_mask(sample.image_id)
        if mask.shape != found.class_ids.shape:
            raise DataError(
                f"{where}: the mask is {_size(mask)}, the image {_size(found.class_ids)}; they must be alike"
            )
        truth = table[mask]
        _refuse_unknown(mask, truth, where, spec)
        ids.append(sample.image_id)
        tables.append(confusion(truth, found.class_ids, len(spec.labels)))
        ignored += int(np.count_nonzero(truth == IGNORED))
    sums = sums_of(ids, tables, (len(spec.labels), len(spec.labels) + 1))
    counts = PixelCounts(spec.labels, spec.head.background_id, _ignored_label(spec), sums)
    total = sums.total()
    _refuse_lost_class(total, ignored, spec)
    scores = map_scores(total, spec.labels, background_id=counts.background_id, ignored_id=counts.ignored_id)
    share = f"{ignored / (ignored + total.sum()):.1%} of the pixels are marked as not to be scored"
    return Scored(scores.measurements, (*scores.notes, *([share] if ignored else [])), PerImage(pixels=counts))


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


def _ignored_label(spec: ModelSpec) -> int | None:
    """The label of unlabelled pixels, where the network has one."""
    numbers = spec.category_ids or tuple(range(len(spec.labels)))
    return numbers.index(spec.head.ignore_id) if spec.head.ignore_id in numbers else None


def _size(pixels: npt.NDArray[Any]) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
