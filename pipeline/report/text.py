"""Results as tables on a terminal."""

from typing import TYPE_CHECKING

from edgewright.pipeline.report.rows import comparison, failed_rows, passed_rows
from edgewright.pipeline.verdict import Verdict

if TYPE_CHECKING:
    from rich.console import Console

# A data set with many classes has many limits that hold; they are complete in the JSON report.
_MOST_PASSED = 20


def print_verdict(verdict: Verdict, console: "Console") -> None:
    """The headline first, then every limit that failed, those that hold, and what was compared."""
    from rich.table import Table

    console.print(verdict.headline, markup=False, highlight=False, soft_wrap=True)
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    table.add_column("metric")
    for title in ("candidate", "baseline", "change"):
        table.add_column(title, justify="right")
    table.add_column("limit")
    passed = passed_rows(verdict)
    for row in (*failed_rows(verdict), *passed[:_MOST_PASSED]):
        table.add_row(row.status, row.metric, row.candidate, row.baseline, row.change, row.limit)
    console.print(table, markup=False, highlight=False)
    if len(passed) > _MOST_PASSED:
        console.print(f"... and {len(passed) - _MOST_PASSED} more that hold (--json FILE lists all)", highlight=False)
    for name, fact in comparison(verdict):
        console.print(f"{name}: {fact}", markup=False, highlight=False, soft_wrap=True)
    for note in verdict.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
