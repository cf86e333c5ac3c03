"""COCO average precision and recall, by faster-coco-eval; the numbers are those of pycocotools."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import numpy as np
import numpy.typing as npt
from faster_coco_eval import COCO, COCOeval_faster

from edgewright.pipeline.report.schema import Measurement
from edgewright.runtime.errors import DataError

# The order of pycocotools, Params.areaRngLbl.
_AREAS = ("all", "small", "medium", "large")
ANNOTATION = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
_BOX = ("image_id", "category_id", "bbox", "score")


# Without one, the library would make and keep an outline of every detection.
_NO_MASK: list[float] = []


class RunLengths(TypedDict):
    """A mask as COCO stores it: `size` is height, width; `counts` the compressed lengths of its runs, column by column."""

    size: list[int]
    counts: str


class _Found(TypedDict):
    image_id: int
    category_id: int
    bbox: list[float]
    score: float


class CocoResult(_Found, total=False):
    """One detection of a COCO results file; bbox is x, y, width, height in pixels, `segmentation` the mask if there is one."""

    segmentation: RunLengths


@dataclass(frozen=True)
class CocoScores:
    """Measurements in [0, 1], those of the usual table, then per class; what is undefined is left out and noted."""

    measurements: tuple[Measurement, ...]
    notes: tuple[str, ...]


def box_scores(truth: dict[str, Any], results: Sequence[CocoResult], *, max_detections: int = 100) -> CocoScores:
    """AP and AR of the boxes in `results` against COCO ground truth (every annotation with id from 1, area and iscrowd).

    At most `max_detections` per image and class count, the best ones; AR1 and AR10 take 1 and 10.
    """
    bare = [_only(annotation, *ANNOTATION) for annotation in truth["annotations"]]
    found = [{**_only(dict(result), *_BOX), "segmentation": _NO_MASK} for result in results]
    return scores({**truth, "annotations": bare}, found, iou_type="bbox", max_detections=max_detections)


def scores(
    truth: dict[str, Any], results: Sequence[dict[str, Any]], *, iou_type: Literal["bbox", "segm"], max_detections: int
) -> CocoScores:
    """AP and AR by the overlap of boxes, or of masks; the records of `results` are written into."""
    limits = sorted({limit for limit in (1, 10, max_detections) if limit <= max_detections})
    tables = _accumulate(truth, results, limits, iou_type)
    values = {
        **_precisions(tables.precision, tables.iou_thresholds),
        **_recalls(tables.recall, limits),
        **{f"AP/{c['name']}": _mean(tables.precision[:, :, k, 0, -1]) for k, c in enumerate(tables.categories)},
    }
    if values["AP"] is None:
        raise DataError(
            "the labels hold no object that counts (none at all, or crowds only), so nothing can be scored; use other images"
        )
    measured = tuple(
        Measurement(name=name, value=value, unit="fraction", higher_is_better=True)
        for name, value in values.items()
        if value is not None
    )
    return CocoScores(measured, _notes(values, results))


@dataclass(frozen=True)
class _Tables:
    """precision (IoU, recall, class, area, limit) and recall (IoU, class, area, limit); -1 where there is no object."""

    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    iou_thresholds: npt.NDArray[np.float64]
    categories: list[dict[str, Any]]


def _accumulate(truth: dict[str, Any], results: Sequence[dict[str, Any]], limits: list[int], iou_type: str) -> _Tables:
    labels = COCO(truth)
    found = labels.loadRes(list(results))
    evaluation = COCOeval_faster(labels, found, iouType=iou_type)
    evaluation.params.maxDets = limits
    evaluation.evaluate()
    evaluation.accumulate()
    by_id = {category["id"]: category for category in truth["categories"]}
    return _Tables(
        np.asarray(evaluation.eval["precision"], np.float64),
        np.asarray(evaluation.eval["recall"], np.float64),
        evaluation.params.iouThrs,
        [by_id[category_id] for category_id in evaluation.params.catIds],
    )


def _only(record: dict[str, Any], *keys: str) -> dict[str, Any]:
    """These keys of a record, as a record of its own: the library writes into those that it is given."""
    return {key: record[key] for key in keys}


def _precisions(precision: npt.NDArray[np.float64], thresholds: npt.NDArray[np.float64]) -> dict[str, float | None]:
    all_areas = precision[:, :, :, 0, -1]
    return {
        "AP": _mean(all_areas),
        "AP50": _mean(all_areas[np.isclose(thresholds, 0.5)]),
        "AP75": _mean(all_areas[np.isclose(thresholds, 0.75)]),
        **{f"AP-{area}": _mean(precision[:, :, :, a, -1]) for a, area in enumerate(_AREAS) if area != "all"},
    }


def _recalls(recall: npt.NDArray[np.float64], limits: list[int]) -> dict[str, float | None]:
    return {
        **{f"AR{limit}": _mean(recall[:, :, 0, m]) for m, limit in enumerate(limits)},
        **{f"AR-{area}": _mean(recall[:, :, a, -1]) for a, area in enumerate(_AREAS) if area != "all"},
    }


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    """The mean of what is defined; -1 marks classes and sizes without any object."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None


def _notes(values: dict[str, float | None], results: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    undefined = [name for name, value in values.items() if value is None]
    sizes = [name for name in undefined if not name.startswith("AP/")]
    classes = [name.removeprefix("AP/") for name in undefined if name.startswith("AP/")]
    notes = []
    if sizes:
        notes.append(f"no objects of that size, so not measured: {', '.join(sizes)}")
    if classes:
        total = sum(name.startswith("AP/") for name in values)
        few = ", ".join(classes[:5]) + (", ..." if len(classes) > 5 else "")
        notes.append(f"{len(classes)} of {total} classes have no objects and do not count: {few}")
    if not results:
        notes.append("the network found nothing at all")
    return tuple(notes)
