"""`edgewright quantize`: a bundle in lower precision, as far as that pays."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgewright.pipeline.commands._options import json_option, threads_option

if TYPE_CHECKING:
    from rich.table import Table

    from edgewright.pipeline.quantizing import PrecisionResult, QuantizationReport


@click.command()
@click.argument("bundle", metavar="BUNDLE")
@click.option("-o", "--output", required=True, metavar="BUNDLE2", help="Folder of the new bundle.")
@click.option(
    "--target",
    required=True,
    type=click.Choice(["openvino", "tensorrt", "onnxruntime"]),
    help="Whose kernels and rules the quantization is for.",
)
@click.option(
    "--data",
    required=True,
    metavar="DATA",
    help="Images to calibrate on: a data set as for evaluate, a folder of images, a video, or replay:DIR, what a run recorded by "
    "--sink record:DIR.",
)
@click.option("--eval-data", metavar="DATA", default=None, help="Labelled images to score on; not those of --data.")
@click.option(
    "--max-drop",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    metavar="POINTS",
    help="Most that may be lost: points (hundredths) of AP, mIoU or PQ.",
)
@click.option("--images", type=click.IntRange(min=1), default=300, show_default=True, help="Images to calibrate on.")
@click.option(
    "--min-images", type=click.IntRange(min=1), default=None, help="Insist on fewer images than 32.", show_default=False
)
@click.option("--allow-overlap", is_flag=True, help="Calibrate on images that are scored on as well.")
@click.option(
    "--allow-color-order", is_flag=True, help="Calibrate although exchanging red and blue makes the network surer."
)
@click.option(
    "--plan",
    "plan_path",
    metavar="FILE",
    default=None,
    help="Apply this plan, such as calibration/plan.json of another bundle, instead of searching.",
)
@click.option("--rank-layers", is_flag=True, help="Measure how much every layer suffers, even where no plan needs it.")
@click.option("--plots", metavar="DIR", default=None, help="Draw layers, ranges and trials as SVG into DIR.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="For the choice of images.")
@threads_option
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
@json_option
def command(
    bundle: str,
    output: str,
    target: str,
    data: str,
    eval_data: str | None,
    max_drop: float,
    images: int,
    min_images: int | None,
    allow_overlap: bool,
    allow_color_order: bool,
    plan_path: str | None,
    rank_layers: bool,
    plots: str | None,
    seed: int,
    threads: int | None,
    force: bool,
    json_path: str | None,
) -> int:
    """Quantize BUNDLE and keep each precision that is accurate and, where it can be timed here, faster.

    The exit status is 0 when int8 is in the new bundle, 1 when it does not pay; the report says why. An interrupted run goes
    on where it was.
    """
    from edgewright.calibration.plan import read_plan
    from edgewright.pipeline.console import console, result_console, write_json
    from edgewright.pipeline.datasets import open_dataset
    from edgewright.pipeline.quantizing import quantize
    from edgewright.runtime import plugins
    from edgewright.runtime.bundle import load_bundle

    talk = console()
    loaded = load_bundle(bundle)
    try:
        result = quantize(
            loaded,
            Path(output),
            target=target,  # type: ignore[arg-type]
            data=data,
            evaluation=None if eval_data is None else open_dataset(eval_data),
            max_drop=max_drop / 100,
            images=images,
            fewest=min_images,
            allow_overlap=allow_overlap,
            allow_color_order=allow_color_order,
            plans=None if plan_path is None else (read_plan(Path(plan_path)),),
            rank=rank_layers,
            threads=threads,
            seed=seed,
            replace=force,
            tell=lambda text: talk.print(text, markup=False, highlight=False),
        )
    except ModuleNotFoundError as err:
        raise plugins.missing_dependency(err, needed_by="quantize") from err
    if json_path is not None:
        write_json(json_path, result.report.model_dump(mode="json"))
    if plots is not None:
        from edgewright.pipeline.report.quantization_plots import save_plots

        save_plots(result.report, Path(plots))
    out = result_console()
    out.print(_table(result.report), markup=False, highlight=False)
    click.echo(f"{'int8 is in' if result.promoted else 'int8 is not in'} {result.bundle.path}: {_why(result.report)}")
    return 0 if result.promoted else 1


def _why(report: "QuantizationReport") -> str:
    return next(entry.reason for entry in report.precisions if entry.precision == "int8")


def _table(report: "QuantizationReport") -> "Table":
    from rich.table import Table

    table = Table("precision", box=None, padding=(0, 2, 0, 0))
    for title in (report.metric, "drop (interval), points", "time to fp32 (interval)", "MiB"):
        table.add_column(title, justify="right")
    table.add_column("kept")
    for entry in report.precisions:
        table.add_row(
            entry.precision,
            "-" if entry.score is None else f"{entry.score:.4f}",
            _with_interval(entry.drop, entry.interval, 100),
            _with_interval(entry.ratio, entry.ratio_interval, 1),
            f"{entry.size_mib:.1f}",
            "yes" if entry.promoted else f"no: {_short(entry)}",
        )
    return table


def _with_interval(value: float | None, interval: tuple[float, float] | None, scale: float) -> str:
    if value is None:
        return "-"
    bounds = "" if interval is None else f" ({scale * interval[0]:.2f} to {scale * interval[1]:.2f})"
    return f"{scale * value:.2f}{bounds}"


def _short(entry: "PrecisionResult") -> str:
    return entry.reason if len(entry.reason) < 60 else "see below"
