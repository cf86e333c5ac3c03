"""Accuracy of a bundle on labelled images, by the very code that runs on the device."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from edgewright.pipeline.console import progress
from edgewright.pipeline.datasets import BoxDataset, Dataset
from edgewright.pipeline.datasets._matching import match_labels
from edgewright.pipeline.device import describe_device
from edgewright.pipeline.report.schema import BundleIdentity, DataIdentity, Measurement, Report, utc_now
from edgewright.runtime import plugins
from edgewright.runtime.atomic import atomic_file
from edgewright.runtime.backends import Setting
from edgewright.runtime.bundle import Bundle, first_problem
from edgewright.runtime.errors import UsageError
from edgewright.runtime.predictor import Predictor, open_predictor
from edgewright.runtime.results import Detections
from edgewright.runtime.spec import ModelSpec, PostprocessSpec

if TYPE_CHECKING:
    from edgewright.pipeline.metrics.coco import CocoResult

_BOX_TASKS = ("detect", "instance")

# What a network found on an image of the data set: image id, detections.
Found = tuple[int, Detections]


def evaluate(
    bundle: Bundle,
    dataset: Dataset,
    *,
    backend: str = "ort",
    precision: str = "fp32",
    threads: int | None = None,
    postprocess: PostprocessSpec | None = None,
    detections_path: Path | str | None = None,
) -> Report:
    """The report with AP and AR of `bundle` on `dataset`; everything is checked before the first inference.

    `postprocess` None means `evaluation_settings` of the bundle. `detections_path` receives COCO results JSON.
    """
    boxes = _boxes(bundle.spec, dataset)
    category_ids = match_labels(bundle.spec, boxes)
    metric = plugins.load("edgewright.pipeline.metrics", "coco")
    settings = postprocess or evaluation_settings(bundle.spec.postprocess)
    with ExitStack() as stack:
        # Opened first, so that a path that cannot be written is known before the long run.
        file = stack.enter_context(atomic_file(detections_path)) if detections_path is not None else None
        predictor = stack.enter_context(
            open_predictor(bundle, backend=backend, precision=precision, threads=threads, postprocess=settings)
        )
        found = list(_predict(predictor, boxes))
        if file is not None:
            _write_results(file, coco_results(found, category_ids))
    results = list(coco_results(found, category_ids))
    scores = metric.box_scores(boxes.coco_ground_truth(), results, max_detections=settings.max_detections)
    notes = (*boxes.notes, *_unscored(bundle.spec, category_ids), *scores.notes)
    return _report(bundle, boxes, predictor.settings, scores.measurements, notes)


def evaluation_settings(
    defaults: PostprocessSpec, *, conf: float = 0.001, iou: float | None = None, max_detections: int = 100
) -> PostprocessSpec:
    """The post-processing of a bundle as accuracy is measured: nearly every score, 100 detections (COCO's limits)."""
    changes = {"conf_threshold": conf, "iou_threshold": iou, "max_detections": max_detections}
    given = {name: value for name, value in changes.items() if value is not None}
    try:
        return PostprocessSpec.model_validate({**defaults.model_dump(), **given})
    except ValidationError as err:
        raise UsageError(f"{first_problem(err)}; thresholds lie within 0 and 1, detections start at 1") from err


def coco_results(found: Sequence[Found], category_ids: Sequence[int | None]) -> Iterator["CocoResult"]:
    """What was found, as records of a COCO results file; labels without a category are left out."""
    for image_id, detections in found:
        rows = zip(
            detections.boxes_xyxy.tolist(), detections.scores.tolist(), detections.class_ids.tolist(), strict=True
        )
        for (x1, y1, x2, y2), score, class_id in rows:
            category_id = category_ids[class_id]
            if category_id is not None:
                box = [x1, y1, x2 - x1, y2 - y1]
                yield {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}


def _boxes(spec: ModelSpec, dataset: Dataset) -> BoxDataset:
    if spec.task not in _BOX_TASKS:
        raise UsageError(
            f"{spec.name} is a {spec.task} network, boxes are scored of {' and '.join(_BOX_TASKS)} networks only; "
            "evaluate a network that gives boxes"
        )
    if not isinstance(dataset, BoxDataset):
        raise UsageError(f"data '{dataset.uri}' has no boxes to compare with; give coco:IMAGES_DIR:ANNOTATIONS.json")
    return dataset


def _predict(predictor: Predictor, dataset: Dataset) -> Iterator[Found]:
    for sample in progress(dataset, total=len(dataset), description="evaluate"):
        result = predictor(sample.image())
        if not isinstance(result, Detections):
            raise UsageError(f"{predictor.spec.name} gives a {type(result).__name__}, boxes need Detections")
        # Masks of every image of a large data set would fill the memory, and nothing here reads them.
        yield sample.image_id, replace(result, masks=None)


def _report(
    bundle: Bundle,
    dataset: Dataset,
    settings: dict[str, Setting],
    measurements: tuple[Measurement, ...],
    notes: tuple[str, ...],
) -> Report:
    device = describe_device()
    return Report(
        bundle=BundleIdentity(
            name=bundle.spec.name,
            digest=bundle.digest,
            task=bundle.spec.task,
            precision=str(settings.get("executed_precision", settings["precision"])),
        ),
        data=DataIdentity(uri=dataset.uri, digest=dataset.digest, images=len(dataset)),
        settings={"evaluate": settings},
        device=device.identity,
        software={**device.software, "faster-coco-eval": metadata.version("faster-coco-eval")},
        measurements=measurements,
        notes=notes,
        created=utc_now(),
    )


def _write_results(path: Path, results: Iterator["CocoResult"]) -> None:
    """One record a line: 500 000 records of a large data set need no large text in memory."""
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        for number, result in enumerate(results):
            file.write(",\n" if number else "\n")
            file.write(json.dumps(result, separators=(",", ":"), allow_nan=False))
        file.write("\n]\n")


def _unscored(spec: ModelSpec, category_ids: Sequence[int | None]) -> tuple[str, ...]:
    left_out = [label for label, category_id in zip(spec.labels, category_ids, strict=True) if category_id is None]
    few = ", ".join(left_out[:5]) + (", ..." if len(left_out) > 5 else "")
    notes = [f"{len(left_out)} labels that the data do not have are not scored: {few}"] if left_out else []
    if spec.task == "instance":
        notes.append("AP and AR are those of the boxes; masks are not scored")
    return tuple(notes)
