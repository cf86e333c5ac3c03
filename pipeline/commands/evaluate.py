"""`edgewright evaluate`: the accuracy of a bundle on labelled images."""

from typing import TYPE_CHECKING

import click

from edgewright.pipeline.commands._options import engine_options, json_option

if TYPE_CHECKING:
    from rich.table import Table

    from edgewright.pipeline.report.schema import Measurement, Report


@click.command()
@click.argument("bundle", metavar="BUNDLE")
@click.option(
    "--data",
    required=True,
    metavar="DATA",
    help="Labelled images: coco:IMAGES_DIR:ANNOTATIONS.json or synthetic:SEED:COUNT.",
)
@engine_options
@click.option("--conf", type=click.FloatRange(0, 1), default=0.001, show_default=True, help="Least score.")
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
    conf: float,
    iou: float | None,
    max_det: int,
    limit: int | None,
    detections_path: str | None,
    json_path: str | None,
) -> None:
    """Measure the accuracy of BUNDLE on labelled images: AP, AR and AP of every class, as COCO defines them."""
    from contextlib import ExitStack

    from edgewright.pipeline.console import result_console, write_json
    from edgewright.pipeline.datasets import open_dataset
    from edgewright.pipeline.evaluate import evaluate, evaluation_settings
    from edgewright.runtime.atomic import atomic_file
    from edgewright.runtime.bundle import load_bundle

    loaded = load_bundle(bundle)
    dataset = open_dataset(data)
    with ExitStack() as stack:
        # Opened first, so that a path that cannot be written is known before the long run.
        file = stack.enter_context(atomic_file(json_path)) if json_path is not None else None
        report = evaluate(
            loaded,
            dataset if limit is None else dataset.first(limit),
            backend=backend,
            precision=precision,
            threads=threads,
            postprocess=evaluation_settings(loaded.spec.postprocess, conf=conf, iou=iou, max_detections=max_det),
            detections_path=detections_path,
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
    by_class = [m for m in report.measurements if m.name.startswith("AP/")]
    summary = [m for m in report.measurements if not m.name.startswith("AP/")]
    images = report.data.images if report.data is not None else 0
    title = f"{report.bundle.name} on {images} images"
    return _table("class", "AP", by_class), _table(title, "value", summary)


def _table(first: str, second: str, measurements: "list[Measurement]") -> "Table":
    from rich.table import Table

    table = Table(first, box=None, padding=(0, 2, 0, 0))
    table.add_column(second, justify="right")
    for measurement in measurements:
        table.add_row(measurement.name.removeprefix("AP/"), f"{measurement.value:.4f}")
    return table
