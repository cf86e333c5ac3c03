"""Accuracy of a bundle on labelled images, by the very code that runs on the device."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from edgewright.pipeline.class_maps import class_table, score_maps
from edgewright.pipeline.datasets import BoxDataset, Dataset, MaskDataset, PanopticDataset, VideoDataset
from edgewright.pipeline.datasets._kinds import with_boxes, with_class_masks, with_segments
from edgewright.pipeline.datasets._matching import match_labels
from edgewright.pipeline.device import describe_device
from edgewright.pipeline.found import coco_results, find, region_records, write_results
from edgewright.pipeline.panoptic_maps import score_segments, segment_table
from edgewright.pipeline.per_image import matched, save_per_image
from edgewright.pipeline.prompted_masks import Prompts, mask_dataset, score_prompts
from edgewright.pipeline.prompted_videos import score_videos
from edgewright.pipeline.report.schema import DataIdentity, Measurement, Report, identity_of, utc_now
from edgewright.pipeline.scored import Scored, further
from edgewright.pipeline.slices import measured_slices, read_slices
from edgewright.runtime import plugins
from edgewright.runtime.atomic import atomic_file
from edgewright.runtime.backends import Setting
from edgewright.runtime.bundle import Bundle, first_problem
from edgewright.runtime.errors import UsageError
from edgewright.runtime.predictor import Predictor, open_predictor
from edgewright.runtime.prompter import PromptedPredictor
from edgewright.runtime.spec import ModelSpec, PostprocessSpec, Task

if TYPE_CHECKING:
    from edgewright.pipeline.metrics.coco import CocoResult, CocoScores

_MAP_TASKS = {"semantic": "class maps", "panoptic": "panoptic maps"}


def evaluate(
    bundle: Bundle,
    dataset: Dataset,
    *,
    backend: str = "ort",
    precision: str = "fp32",
    threads: int | None = None,
    postprocess: PostprocessSpec | None = None,
    propose: str | None = None,
    tiles: str | None = None,
    prompts: Prompts | None = None,
    slices: Sequence[str] = (),
    detections_path: Path | str | None = None,
    per_image_path: Path | str | None = None,
) -> Report:
    """The report of `bundle` on `dataset`: AP and AR of boxes and instance masks, IoU and Dice of class maps, PQ.

    Everything that can be checked is checked before the first inference. `postprocess` None means `evaluation_settings` of
    the bundle, `propose` None its own method of proposals, `tiles` None the whole image (`runtime.slicing`).
    `detections_path` receives COCO results JSON, `per_image_path` what became of every image, which `gate` resamples.
    `prompts` is how a promptable network is shown every labelled object, None: by its box. `slices` are those of
    `read_slices`, which are measured by themselves too.
    """
    if slices and isinstance(dataset, VideoDataset):
        raise UsageError(f"slices are of images, and data '{dataset.uri}' are videos; leave --slices out")
    members = read_slices(slices, dataset)
    settings = postprocess or evaluation_settings(bundle.spec.postprocess, task=bundle.spec.task)
    opened = partial(
        open_predictor,
        bundle,
        backend=backend,
        precision=precision,
        threads=threads,
        postprocess=settings,
        propose=propose,
        tiles=tiles,
    )
    if bundle.spec.task == "prompted":
        scored, used = _score_prompts(bundle, dataset, opened, detections_path, prompts)
    elif prompts is not None:
        raise UsageError(f"{bundle.spec.name} is a {bundle.spec.task} network, which takes no prompts; leave them out")
    elif bundle.spec.task in _MAP_TASKS:
        scored, used = _score_maps(bundle, dataset, opened, detections_path)
    else:
        scored, used = _score_detections(bundle, dataset, opened, detections_path)
    kept = replace(scored.per_image, slices=members)
    report = _report(bundle, dataset, used, (*scored.measurements, *measured_slices(kept)), scored.notes)
    if per_image_path is None:
        return report
    return report.model_copy(update={"per_image": save_per_image(per_image_path, kept)})


def _score_prompts(
    bundle: Bundle,
    dataset: Dataset,
    opened: Callable[[], Predictor],
    detections_path: Path | str | None,
    prompts: Prompts | None,
) -> tuple[Scored, dict[str, Setting]]:
    """Scores of masks that are asked for, and the settings that the network had."""
    if detections_path is not None:
        raise UsageError(f"{bundle.spec.name} gives masks without a class; leave --detections out")
    kind = prompts or "box"
    labelled = dataset if isinstance(dataset, VideoDataset) else mask_dataset(dataset, bundle.spec.name)
    with opened() as predictor:
        if not isinstance(predictor, PromptedPredictor):
            raise UsageError(f"{bundle.spec.name} takes no prompts; export the bundle again")
        if isinstance(labelled, VideoDataset):
            scored = score_videos(predictor.prompter, labelled, kind)
        else:
            scored = score_prompts(predictor.prompter, labelled, kind)
        return scored, {**predictor.settings, "prompts": kind}


def _score_maps(
    bundle: Bundle, dataset: Dataset, opened: Callable[[], Predictor], detections_path: Path | str | None
) -> tuple[Scored, dict[str, Setting]]:
    """Scores of class maps or of panoptic maps, and the settings that the predictor had."""
    name, task = bundle.spec.name, bundle.spec.task
    if detections_path is not None:
        raise UsageError(f"{name} gives {_MAP_TASKS[task]}, of which there are no detections; leave --detections out")
    labelled: MaskDataset | PanopticDataset
    if task == "semantic":
        labelled = with_class_masks(dataset)
        meaning = class_table(bundle.spec, labelled)
        with opened() as predictor:
            scored = score_maps(predictor, labelled, meaning)
    else:
        labelled = with_segments(dataset)
        table = segment_table(bundle.spec, labelled)
        with opened() as predictor:
            scored = score_segments(predictor, labelled, table)
    return replace(scored, notes=(*labelled.notes, *scored.notes)), predictor.settings


def _score_detections(
    bundle: Bundle, dataset: Dataset, opened: Callable[[], Predictor], detections_path: Path | str | None
) -> tuple[Scored, dict[str, Setting]]:
    """Scores of boxes and of instance masks, and the settings that the predictor had."""
    boxes = with_boxes(dataset)
    category_ids = match_labels(bundle.spec, boxes)
    plugins.load("edgewright.pipeline.metrics", "coco")
    masks = _mask_truth(bundle.spec, boxes)
    with ExitStack() as stack:
        # Opened first, so that a path that cannot be written is known before the long run.
        file = stack.enter_context(atomic_file(detections_path)) if detections_path is not None else None
        predictor = stack.enter_context(opened())
        found = list(find(predictor, boxes))
        if file is not None:
            write_results(file, coco_results(found, category_ids))
    results, limit = list(coco_results(found, category_ids)), predictor.postprocess.max_detections
    scores = _box_scores(boxes, results, limit)
    truth, regions = boxes.coco_ground_truth(), region_records(found)
    per_image = matched(truth, masks, results, max_detections=limit, proposals=regions)
    coco = (*scores.measurements, *_mask_measurements(masks, results, limit))
    notes = (*boxes.notes, *_unscored(bundle.spec, category_ids, masks), *scores.notes)
    return Scored((*coco, *further(per_image, coco)), notes, per_image), predictor.settings


def evaluation_settings(
    defaults: PostprocessSpec,
    *,
    task: Task = "detect",
    conf: float | None = None,
    iou: float | None = None,
    max_detections: int = 100,
) -> PostprocessSpec:
    """The post-processing of a bundle as accuracy is measured: nearly every score, 100 detections (COCO's limits).

    Segments of a panoptic map have no order by score: those that the bundle shows are scored, unless `conf` says otherwise.
    """
    least = defaults.conf_threshold if task in ("panoptic", "prompted") else 0.001
    changes = {
        "conf_threshold": least if conf is None else conf,
        "iou_threshold": iou,
        "max_detections": max_detections,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    try:
        return PostprocessSpec.model_validate({**defaults.model_dump(), **given})
    except ValidationError as err:
        raise UsageError(f"{first_problem(err)}; thresholds lie within 0 and 1, detections start at 1") from err


def _mask_truth(spec: ModelSpec, dataset: BoxDataset) -> dict[str, Any] | None:
    """The labels with masks, for a network that gives masks, where the labels have any."""
    if spec.task != "instance":
        return None
    from edgewright.pipeline.metrics.coco_masks import with_masks

    return with_masks(dataset.coco_ground_truth())


def _box_scores(dataset: BoxDataset, results: "list[CocoResult]", limit: int) -> "CocoScores":
    from edgewright.pipeline.metrics.coco import box_scores

    return box_scores(dataset.coco_ground_truth(), results, max_detections=limit)


def _mask_measurements(
    truth: dict[str, Any] | None, results: "list[CocoResult]", limit: int
) -> tuple[Measurement, ...]:
    """What there is to say of masks beyond the numbers, the scores of the boxes say."""
    from edgewright.pipeline.metrics.coco_masks import mask_scores

    return () if truth is None else mask_scores(truth, results, max_detections=limit).measurements


def _report(
    bundle: Bundle,
    dataset: Dataset,
    settings: dict[str, Setting],
    measurements: tuple[Measurement, ...],
    notes: tuple[str, ...],
) -> Report:
    device = describe_device()
    return Report(
        bundle=identity_of(bundle, settings, settings["precision"]),
        data=DataIdentity(uri=dataset.uri, digest=dataset.digest, images=len(dataset)),
        settings={"evaluate": settings},
        device=device.identity,
        software={**device.software, **_evaluator()},
        measurements=measurements,
        notes=notes,
        created=utc_now(),
    )


def _unscored(spec: ModelSpec, category_ids: Sequence[int | None], masks: dict[str, Any] | None) -> tuple[str, ...]:
    left_out = [label for label, category_id in zip(spec.labels, category_ids, strict=True) if category_id is None]
    few = ", ".join(left_out[:5]) + (", ..." if len(left_out) > 5 else "")
    notes = [f"{len(left_out)} labels that the data do not have are not scored: {few}"] if left_out else []
    if spec.task == "instance" and masks is None:
        notes.append("AP and AR are those of the boxes; the labels have no masks to score")
    return tuple(notes)


def _evaluator() -> dict[str, str]:
    """The version of the package that scores boxes and masks; maps need none."""
    try:
        return {"faster-coco-eval": metadata.version("faster-coco-eval")}
    except metadata.PackageNotFoundError:
        return {}
