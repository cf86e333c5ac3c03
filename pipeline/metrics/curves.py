"""What a page draws of a report: precision-recall curves, the best scores to cut at, and the confusion matrix."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.metrics.ranked import coco_ranked
from edgewright.pipeline.metrics.voc import best_f1, curve
from edgewright.pipeline.per_image import PerImage, load_per_image
from edgewright.pipeline.report.schema import load_report

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PrCurve:
    """Precision and recall (m,) of the detections of a class with at least `scores` (m,), which fall; overlap 0.5."""

    label: str
    recall: Floats
    precision: Floats
    scores: Floats


@dataclass(frozen=True)
class OperatingPoint:
    """The score at which F1 of a class is best, and what remains there; `accuracy` is TP / (TP + FP + FN)."""

    label: str
    score: float
    f1: float
    precision: float
    recall: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """How often a true class (row) was called what (column), objects or pixels; counts (n, n) for n labels.

    The last label is "background" of detections (missed, or found where nothing is), "no class" of pixels, where any has none.
    """

    labels: tuple[str, ...]
    counts: Floats


@dataclass(frozen=True)
class Curves:
    """Of every class that has objects a curve and, where it has hits, an operating point; all empty where nothing was kept."""

    precision_recall: tuple[PrCurve, ...] = ()
    operating_points: tuple[OperatingPoint, ...] = ()
    confusion: ConfusionMatrix | None = None


def read_curves(report_path: str | Path) -> Curves:
    """The curves of the report in a file, from the results image by image beside it; empty without those.

    DataError when a file is damaged, or when the two do not belong together.
    """
    report = load_report(report_path)
    kept = load_per_image(report_path, report.per_image) if report.per_image else None
    return Curves() if kept is None else curves(kept)


def curves(results: PerImage) -> Curves:
    """The curves of results image by image, those of boxes where there are masks too."""
    boxes = results.matches.get("")
    if boxes is None:
        return Curves(confusion=_confusion(results))
    ranked = coco_ranked(boxes)
    rankings = {label: ranked.ranking(k) for k, label in enumerate(ranked.categories)}
    drawn = [(label, curve(ranking)) for label, ranking in rankings.items() if ranking.objects]
    best = [(label, best_f1(ranking)) for label, ranking in rankings.items()]
    return Curves(
        tuple(PrCurve(label, one.recall, one.precision, one.scores) for label, one in drawn),
        tuple(
            OperatingPoint(label, at.score, at.f1, at.precision, at.recall, accuracy=at.f1 / (2 - at.f1))
            for label, at in best
            if at is not None
        ),
        _confusion(results),
    )


def _confusion(results: PerImage) -> ConfusionMatrix | None:
    if results.confusion is not None:
        return ConfusionMatrix(results.confusion.labels, results.confusion.sums.total())
    if results.pixels is None:
        return None
    counts, labels = results.pixels.sums.total(), results.pixels.labels
    if not counts[:, -1].any():
        return ConfusionMatrix(labels, counts[:, :-1])
    return ConfusionMatrix((*labels, "no class"), np.vstack([counts, np.zeros(len(labels) + 1)]))
