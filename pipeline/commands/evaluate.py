"""`edgewright evaluate`: the accuracy of a bundle on labelled images."""

from typing import TYPE_CHECKING

import click

from edgewright.pipeline.commands._options import engine_options, json_option, propose_option, refine_option, refined

if TYPE_CHECKING:
    from rich.table import Table

    from edgewright.pipeline.prompted_masks import Prompts
    from edgewright.pipeline.report.schema import Measurement, Report

# Columns that say little beside the others; the JSON report has them.
_LEFT_TO_THE_REPORT = ("accuracy", "VOC-AP")


@click.command()
@click.argument("bundle", metavar="BUNDLE")
@click.option(
    "--data",
    required=True,
    metavar="DATA",
    help="Labelled images: coco:IMAGES_DIR:ANNOTATIONS.json, voc:ROOT[:SPLIT], yolo:DATA.yaml[:SPLIT], "
    "masks:IMAGES_DIR:MASKS_DIR, panoptic:IMAGES_DIR:ANNOTATIONS.json:PNG_DIR or synthetic:SEED:COUNT.",
)
@engine_options
@propose_option
@refine_option
@click.option(
    "--prompts",
    type=click.Choice(["box", "center"]),
    default=None,
    help="How a promptable network is shown the labelled objects: by the box, or by one point in the middle of the mask.  "
    "[default: box]",
)
@click.option(
    "--conf",
    type=click.FloatRange(0, 1),
    default=None,
    help="Least score.  [default: 0.001; of panoptic maps and prompted masks the bundle's]",
)
@click.option("--iou", type=click.FloatRange(0, 1), default=None, help="Overlap for NMS.  [default: the bundle's]")
@click.option(
    "--max-det", type=click.IntRange(min=1), default=100, show_default=True, help="Most detections of an image."
)
@click.option("--limit", type=click.IntRange(min=1), default=None, help="Only the first so many images.")
@click.option(
    "--detections", "detections_path", metavar="FILE", default=None, help="Write the detections as COCO results JSON."
)
@json_option
def command(
    bundle: str,
    data: str,
    backend: str,
    precision: str,
    threads: int | None,
    propose: str | None,
    refine: str | None,
    prompts: "Prompts | None",
    conf: float | None,
    iou: float | None,
    max_det: int,
    limit: int | None,
    detections_path: str | None,
    json_path: str | None,
) -> None:
    """Measure the accuracy of BUNDLE on labelled images.

    Boxes and instance masks: AP and AR as COCO defines them, AP as PASCAL VOC does, F1 at its best, of every class too. Class
    maps: mIoU, Dice and pixel accuracy. Panoptic maps: PQ, SQ and RQ. Promptable networks: mIoU of the masks of all objects.
    """
    from contextlib import ExitStack

    from edgewright.pipeline.console import result_console, write_json
    from edgewright.pipeline.datasets import open_dataset
    from edgewright.pipeline.evaluate import evaluate, evaluation_settings
    from edgewright.pipeline.outputs import refuse_same_file
    from edgewright.runtime.atomic import atomic_file
    from edgewright.runtime.bundle import load_bundle

    refuse_same_file({"--json": json_path, "--detections": detections_path})
    loaded = load_bundle(bundle)
    dataset = open_dataset(data)
    settings = evaluation_settings(
        loaded.spec.postprocess, task=loaded.spec.task, conf=conf, iou=iou, max_detections=max_det
    )
    with ExitStack() as stack:
        # Opened first, so that a path that cannot be written is known before the long run.
        file = stack.enter_context(atomic_file(json_path)) if json_path is not None else None
        report = evaluate(
            loaded,
            dataset if limit is None else dataset.first(limit),
            backend=backend,
            precision=precision,
            threads=threads,
            propose=propose,
            prompts=prompts,
            postprocess=refined(settings, refine),
            detections_path=detections_path,
            per_image_path=None if json_path is None else f"{json_path}.npz",
        )
        if file is not None:
            write_json(file, report.model_dump(mode="json"))
    console = result_console()
    for table in _tables(report):
        console.print(table, markup=False, highlight=False)
    for note in report.notes:
        click.echo(f"note: {note}")


def _tables(report: "Report") -> "tuple[Table, Table]":
    """Classes first: they are many, and the summary should stay in sight."""
    by_class = [m for m in report.measurements if "/" in m.name]
    summary = [m for m in report.measurements if "/" not in m.name]
    images = report.data.images if report.data is not None else 0
    return _class_table(by_class), _summary_table(f"{report.bundle.name} on {images} images", summary)


def _class_table(by_class: "list[Measurement]") -> "Table":
    """A row for every class, a column for each of "AP/dog", "mask-AP/dog", ...; a dash where a class has no value."""
    from rich.table import Table

    values = {tuple(m.name.split("/", 1)): m.value for m in by_class if m.name.split("/")[0] not in _LEFT_TO_THE_REPORT}
    metrics, labels = (list(dict.fromkeys(key[part] for key in values)) for part in (0, 1))
    table = Table("class", box=None, padding=(0, 2, 0, 0))
    for metric in metrics:
        table.add_column(metric, justify="right")
    for label in labels:
        cells = (values.get((metric, label)) for metric in metrics)
        table.add_row(label, *("-" if value is None else f"{value:.4f}" for value in cells))
    return table


def _summary_table(title: str, summary: "list[Measurement]") -> "Table":
    from rich.table import Table

    table = Table(title, box=None, padding=(0, 2, 0, 0))
    table.add_column("value", justify="right")
    for measurement in summary:
        table.add_row(measurement.name, f"{measurement.value:.4f}")
    return table
