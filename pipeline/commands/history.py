"""`edgewright history`: how the measurements of a bundle went over time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from edgewright.pipeline.commands._options import json_option

if TYPE_CHECKING:
    from rich.console import Console

    from edgewright.pipeline.history import Trend

_location_option = click.option(
    "--history",
    "location",
    metavar="FILE|URL",
    default=None,
    help="A file of SQLite, or postgresql://USER@HOST/DATABASE.  [default: $EDGEWRIGHT_HISTORY, else edgewright_history.sqlite]",
)
_SHOWN_POINTS = 10


@click.group(invoke_without_command=True)
@_location_option
@click.option("--bundle", metavar="NAME|DIGEST", default=None, help="Only this bundle.")
@click.option("--device", metavar="TEXT", default=None, help="Only devices whose name holds this.")
@click.option(
    "--metric", "metrics", metavar="NAME", multiple=True, help="A metric or pattern (AP/*); may be given several times."
)
@click.option("--plot", "plot_path", metavar="FILE", default=None, help="Draw the trends (.svg or .png).")
@json_option
@click.pass_context
def command(
    context: click.Context,
    location: str | None,
    bundle: str | None,
    device: str | None,
    metrics: tuple[str, ...],
    plot_path: str | None,
    json_path: str | None,
) -> None:
    """Show how the measurements of every bundle went on every device."""
    context.obj = location
    if context.invoked_subcommand is not None:
        return
    from dataclasses import asdict

    from edgewright.pipeline.console import result_console, write_json
    from edgewright.pipeline.history import default_location, trends
    from edgewright.pipeline.outputs import refuse_same_file
    from edgewright.pipeline.report.numbers import HEADLINES

    refuse_same_file({"--plot": plot_path, "--json": json_path})
    found = trends(location or default_location(), bundle=bundle, device=device, metrics=metrics or HEADLINES)
    if json_path is not None:
        write_json(json_path, {"trends": [asdict(trend) for trend in found]})
    if plot_path is not None:
        from edgewright.pipeline.report.plots import save_trends

        save_trends(found, plot_path)
    _print(found, result_console())


@command.command()
@click.argument("reports", metavar="REPORT.json...", nargs=-1, required=True)
@_location_option
@click.pass_context
def add(context: click.Context, reports: tuple[str, ...], location: str | None) -> None:
    """Keep reports; one that is there already stays as it is."""
    from edgewright.pipeline import history
    from edgewright.pipeline.report.schema import load_report

    where = location or context.obj or history.default_location()
    new = history.add([load_report(path) for path in reports], where)
    click.echo(f"{new} of {len(reports)} reports are new")


def _print(trends: Sequence["Trend"], console: "Console") -> None:
    """A table for every bundle and device: its metrics as columns, its measurements as rows, the latest last."""
    from itertools import groupby

    def same(trend: "Trend") -> tuple[str, str, str, str]:
        return trend.bundle, trend.precision, trend.backend, trend.device

    if not trends:
        console.print("no measurement fits; see --bundle, --device and --metric", highlight=False)
    for (bundle, precision, backend, device), group in groupby(trends, key=same):
        console.print(f"{bundle} {precision} on {backend}, {device}", markup=False, highlight=False, soft_wrap=True)
        _print_table(list(group), console)


def _print_table(trends: Sequence["Trend"], console: "Console") -> None:
    from rich.table import Table

    table = Table("measured", "bundle", box=None, padding=(0, 2, 0, 0))
    for trend in trends:
        table.add_column(trend.metric, justify="right", overflow="fold")
    reports = sorted({(point.created, point.report, point.bundle_digest) for trend in trends for point in trend.points})
    for created, report, digest in reports[-_SHOWN_POINTS:]:
        table.add_row(created[:16].replace("T", " "), digest[:12], *(_cell(trend, report) for trend in trends))
    console.print(table, markup=False, highlight=False)
    if len(reports) > _SHOWN_POINTS:
        console.print(f"... and {len(reports) - _SHOWN_POINTS} earlier (--json FILE lists all)", highlight=False)


def _cell(trend: "Trend", report: str) -> str:
    """The value, and how it changed since the measurement before."""
    from edgewright.pipeline.report.numbers import shown, signed

    place = next((n for n, point in enumerate(trend.points) if point.report == report), None)
    if place is None:
        return "–"
    value = trend.points[place].value
    text = shown(value, trend.unit)
    before = trend.points[place - 1].value if place else value
    return text if before == value else f"{text} ({signed(value - before, trend.unit)})"
