"""`edgewright evaluate`: the accuracy of a bundle on labelled images."""

from typing import TYPE_CHECKING

import click

from edgewright.pipeline.commands._options import (
    engine_options,
    json_option,
    nms_option,
    propose_option,
    refine_option,
    tiles_option,
)

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
    "masks:IMAGES_DIR:MASKS_DIR, panoptic:IMAGES_DIR:ANNOTATIONS.json:PNG_DIR, davis:ROOT[:SPLIT] or synthetic:SEED:COUNT.",
)
@engine_options
@propose_option
@refine_option
@nms_option
@tiles_option
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
@click.option(
    "--slices",
    metavar="NAME|FILE",
    multiple=True,
    help="Measure parts of the data by themselves too, as AP@dark: `brightness` (its darkest and brightest quarter), or a YAML "
    "file `name: [image, ...]`.",
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
    nms: str | None,
    tiles: str | None,
    prompts: "Prompts | None",
    conf: float | None,
    iou: float | None,
    max_det: int,
    slices: tuple[str, ...],
    limit: int | None,
    detections_path: str | None,
    json_path: str | None,
) -> None:
    """Measure the accuracy of BUNDLE on labelled images.

    Boxes and instance masks: AP and AR as COCO defines them, AP as PASCAL VOC does, F1 at its best, of every class too. Class
    maps: mIoU, Dice and pixel accuracy. Panoptic maps: PQ, SQ and RQ. Promptable networks: mIoU of the masks of all objects,
    J&F on videos.
    """
    from contextlib import ExitStack

    from edgewright.pipeline.console import result_console, write_json
    from edgewright.pipeline.datasets import open_dataset
    from edgewright.pipeline.evaluate import evaluate, evaluation_settings
    from edgewright.pipeline.outputs import refuse_same_file
    from edgewright.pipeline.postprocessing import refined, suppressing
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
            tiles=tiles,
            prompts=prompts,
            postprocess=suppressing(loaded.spec, refined(settings, refine), nms),
            slices=slices,
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
    by_class = [m for m in report.measurements if "/" in m.name and m.name.split("/")[0] not in _LEFT_TO_THE_REPORT]
    summary = [m for m in report.measurements if "/" not in m.name]
    images = report.data.images if report.data is not None else 0
    parted = ((*m.name.partition("/"), m.value) for m in by_class)
    classes = _table("class", [(label, metric, value) for metric, _, label, value in parted])
    return classes, _table(
        f"{report.bundle.name} on {images} images", [(*_row_and_column(m), m.value) for m in summary]
    )


def _row_and_column(measured: "Measurement") -> tuple[str, str]:
    """The same measurement of masks, of boundaries, of slices side by side: "mask-AP@dark" is "AP" of "mask@dark"."""
    name, _, part = measured.name.partition("@")
    kind = next((kind for kind in ("mask", "boundary") if name.startswith(f"{kind}-A")), "")
    return name.removeprefix(f"{kind}-"), (f"{kind}@{part}" if part else kind) or "value"


def _table(title: str, cells: "list[tuple[str, str, float]]") -> "Table":
    """Row, column and value of every cell; a dash where there is none."""
    from rich.table import Table

    values = {(row, column): value for row, column, value in cells}
    table = Table(title, box=None, padding=(0, 2, 0, 0))
    columns = list(dict.fromkeys(column for _, column in values))
    for column in columns:
        table.add_column(column, justify="right")
    for row in dict.fromkeys(row for row, _ in values):
        found = (values.get((row, column)) for column in columns)
        table.add_row(row, *("-" if value is None else f"{value:.4f}" for value in found))
    return table
