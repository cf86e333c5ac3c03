"""Scores of class maps from a confusion matrix over all pixels: IoU, Dice and pixel accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.report.schema import Measurement
from edgewright.runtime.errors import DataError

Counts = npt.NDArray[np.int64]
# A truth of this class is not scored. Whatever lies outside the classes in a prediction is no class, and a miss.
IGNORED = -1


@dataclass(frozen=True)
class MapScores:
    """Measurements in [0, 1], the means first, then per class; what is undefined is left out and noted."""

    measurements: tuple[Measurement, ...]
    notes: tuple[str, ...]


class Confusion:
    """Counts of pixels (C, C + 1): row the true class, column the predicted one, the last column for no class."""

    def __init__(self, classes: int) -> None:
        self.counts: Counts = np.zeros((classes, classes + 1), np.int64)
        self.ignored = 0

    def add(self, truth: npt.NDArray[np.integer[Any]], predicted: npt.NDArray[np.integer[Any]]) -> None:
        """Count an image; both maps (H, W), the true one with classes below C or IGNORED."""
        classes = len(self.counts)
        scored = truth != IGNORED
        rows = truth[scored].astype(np.int64)
        columns = predicted[scored].astype(np.int64)
        columns[(columns < 0) | (columns >= classes)] = classes
        pairs = np.bincount(rows * (classes + 1) + columns, minlength=self.counts.size)
        self.counts += pairs.reshape(self.counts.shape)
        self.ignored += truth.size - len(rows)


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
    hits, true, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)[:-1]
    classes = [k for k in range(len(labels)) if k != ignored_id]
    present = [k for k in classes if true[k] + predicted[k]]
    iou = {k: float(hits[k] / (true[k] + predicted[k] - hits[k])) for k in present}
    dice = {k: float(2 * hits[k] / (true[k] + predicted[k])) for k in present}
    foreground = [dice[k] for k in present if k != background_id]
    values = {
        "mIoU": float(np.mean(list(iou.values()))),
        **({"Dice": float(np.mean(foreground))} if foreground else {}),
        "pixel-accuracy": float(hits.sum() / true.sum()),
        **{f"IoU/{labels[k]}": iou[k] for k in present},
        **{f"Dice/{labels[k]}": dice[k] for k in present},
    }
    measured = (Measurement(name=n, value=v, unit="fraction", higher_is_better=True) for n, v in values.items())
    absent = [labels[k] for k in classes if k not in present]
    invented = [labels[k] for k in present if not true[k]]
    return MapScores(tuple(measured), _notes(absent, invented, len(classes)))


def _notes(absent: Sequence[str], invented: Sequence[str], classes: int) -> tuple[str, ...]:
    notes = []
    if absent:
        notes.append(f"{len(absent)} of {classes} classes appear nowhere and do not count: {', '.join(absent)}")
    if invented:
        notes.append(f"predicted but nowhere labelled, so their IoU is 0: {', '.join(invented)}")
    return tuple(notes)
