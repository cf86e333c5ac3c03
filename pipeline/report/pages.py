"""A verdict as Markdown for a pull request, and as a page of its own."""

from edgewright.pipeline.report.rendering import render
from edgewright.pipeline.report.rows import comparison, failed_rows, passed_rows
from edgewright.pipeline.verdict import Verdict


def verdict_markdown(verdict: Verdict) -> str:
    """GitHub-flavoured Markdown: what failed in a table, what holds folded away."""
    return _render("verdict.md.j2", verdict)


def verdict_html(verdict: Verdict) -> str:
    """One self-contained HTML page."""
    return _render("verdict.html.j2", verdict)


def _render(template: str, verdict: Verdict) -> str:
    values = {"failed": failed_rows(verdict), "passed": passed_rows(verdict), "facts": comparison(verdict)}
    return render(template, verdict=verdict, **values)
