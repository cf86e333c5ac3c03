"""`edgewright baseline`: reports that were reviewed and that candidates are compared with."""

from typing import TYPE_CHECKING

import click

from edgewright.pipeline.commands._options import json_option

if TYPE_CHECKING:
    from rich.console import Console

    from edgewright.pipeline.baseline import Accepted

_MOST_CHANGES = 30


@click.group()
def command() -> None:
    """Keep reports as baselines, in files meant for git."""


@command.command()
@click.argument("reports", metavar="REPORT.json...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="FILE", default=None, help="[default: baselines/BUNDLE_BACKEND_PRECISION.json]")
@click.option("--note", default="", metavar="TEXT", help="Why it is accepted; kept in the file.")
@json_option
def accept(reports: tuple[str, ...], output: str | None, note: str, json_path: str | None) -> None:
    """Make the reports of one bundle its baseline, and show what changes against the one before.

    Refused are runs that were disturbed or whose device was throttled.
    """
    from dataclasses import asdict
    from pathlib import Path

    from edgewright.pipeline import baseline
    from edgewright.pipeline.console import result_console, write_json
    from edgewright.pipeline.outputs import refuse_same_file

    refuse_same_file({"--output": output, "--json": json_path})
    accepted = baseline.accept(reports, None if output is None else Path(output), note=note)
    if json_path is not None:
        changes = [asdict(change) for change in accepted.changes]
        write_json(json_path, {"path": str(accepted.path), "replaced": accepted.replaced, "changes": changes})
    _print(accepted, result_console())


def _print(accepted: "Accepted", console: "Console") -> None:
    from rich.table import Table

    what = "replaced" if accepted.replaced else "new"
    lines = [f"{what} baseline: {accepted.path}"]
    if accepted.baseline.per_image is not None:
        lines.append(f"beside it, for intervals: {accepted.baseline.per_image.file}; commit both")
    if accepted.replaced and not accepted.changes:
        lines.append("nothing changes but the date")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if accepted.changes:
        table = Table("changed", "before", "now", "", box=None, padding=(0, 2, 0, 0))
        for change in accepted.changes[:_MOST_CHANGES]:
            table.add_row(change.name, change.before, change.after, change.difference)
        console.print(table, markup=False, highlight=False)
        if len(accepted.changes) > _MOST_CHANGES:
            console.print(
                f"... and {len(accepted.changes) - _MOST_CHANGES} more (--json FILE lists all)", highlight=False
            )
