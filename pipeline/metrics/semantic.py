"""Scores of class maps from a confusion matrix over all pixels: IoU, Dice and pixel accuracy."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.metrics.image_sums import ImageSums, Ints, SummedScores
from edgewright.pipeline.report.schema import Measurement
from edgewright.runtime.errors import DataError

Counts = npt.NDArray[Any]
# A truth of this class is not scored. Whatever lies outside the classes in a prediction is no class, and a miss.
IGNORED = -1


@dataclass(frozen=True)
class MapScores:
    """Measurements in [0, 1], the means first, then per class; what is undefined is left out and noted."""

    measurements: tuple[Measurement, ...]
    notes: tuple[str, ...]


def confusion(truth: npt.NDArray[np.integer[Any]], predicted: npt.NDArray[np.integer[Any]], classes: int) -> Ints:
    """Counts of pixels (C, C + 1) of an image: row the true class, column the predicted one, the last column for no class.

    Both maps (H, W), the true one with classes below C or IGNORED.
    """
    scored = truth != IGNORED
    rows = truth[scored].astype(np.int64)
    columns = predicted[scored].astype(np.int64)
    columns[(columns < 0) | (columns >= classes)] = classes
    pairs = np.bincount(rows * (classes + 1) + columns, minlength=classes * (classes + 1))
    return pairs.reshape(classes, classes + 1)


@dataclass(frozen=True, eq=False)
class PixelCounts:
    """The confusion of every image, as sums of (C, C + 1); `background_id` and `ignored_id` are those of `map_scores`."""

    labels: tuple[str, ...]
    background_id: int | None
    ignored_id: int | None
    sums: ImageSums

    @property
    def image_ids(self) -> Ints:
        return self.sums.image_ids

    def scores(self, names: Collection[str] | None = None) -> SummedScores:
        """Those of the names that can be measured, as a function of how often every image occurs."""
        score = partial(_values, labels=self.labels, background_id=self.background_id, ignored_id=self.ignored_id)
        return SummedScores(self.sums, score, names=names, support=self._support)

    def of_images(self, images: Ints) -> "PixelCounts":
        return replace(self, sums=self.sums.of_images(images))

    def _support(self, name: str) -> int:
        """The images that hold the class, or were said to."""
        cells = np.ones(self.sums.shape, bool)
        if "/" in name:
            k = self.labels.index(name.partition("/")[2])
            cells[:] = False
            cells[k], cells[:, k] = True, True
        return self.sums.images_with(cells)


def map_scores(
    counts: Counts, labels: Sequence[str], *, background_id: int | None = None, ignored_id: int | None = None
) -> MapScores:
    """mIoU, Dice and pixel accuracy of a confusion matrix (C, C + 1), and IoU and Dice of every class.

    mIoU is the mean over all classes, Dice the mean over all but the background, as their literatures have it (Everingham et
    al., "The PASCAL VOC Challenge", IJCV 2010; Isensee et al., "nnU-Net", Nature Methods 2021). A class that is neither in
    the labels nor predicted does not count; nor does class `ignored_id`, which a network may predict and nobody labels.
    """
    if not counts.sum():
        raise DataError(
            "the masks hold no pixel that counts (all are ignored), so nothing can be scored; use other masks"
        )
    values = _values(counts, labels=labels, background_id=background_id, ignored_id=ignored_id)
    measured = (Measurement(name=n, value=v, unit="fraction", higher_is_better=True) for n, v in values.items())
    classes = [k for k in range(len(labels)) if k != ignored_id]
    absent = [labels[k] for k in classes if f"IoU/{labels[k]}" not in values]
    invented = [labels[k] for k in classes if labels[k] not in absent and not counts[k].any()]
    return MapScores(tuple(measured), _notes(absent, invented, len(classes)))


def _values(
    counts: Counts, *, labels: Sequence[str], background_id: int | None, ignored_id: int | None
) -> Mapping[str, float]:
    hits, true, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)[:-1]
    present = [k for k in range(len(labels)) if k != ignored_id and true[k] + predicted[k]]
    if not present or not true.any():
        return {}
    iou = {k: float(hits[k] / (true[k] + predicted[k] - hits[k])) for k in present}
    dice = {k: float(2 * hits[k] / (true[k] + predicted[k])) for k in present}
    foreground = [dice[k] for k in present if k != background_id]
    return {
        "mIoU": float(np.mean(list(iou.values()))),
        **({"Dice": float(np.mean(foreground))} if foreground else {}),
        "pixel-accuracy": float(hits.sum() / true.sum()),
        **{f"IoU/{labels[k]}": iou[k] for k in present},
        **{f"Dice/{labels[k]}": dice[k] for k in present},
    }


def _notes(absent: Sequence[str], invented: Sequence[str], classes: int) -> tuple[str, ...]:
    notes = []
    if absent:
        notes.append(f"{len(absent)} of {classes} classes appear nowhere and do not count: {', '.join(absent)}")
    if invented:
        notes.append(f"predicted but nowhere labelled, so their IoU is 0: {', '.join(invented)}")
    return tuple(notes)
