"""A verdict as Markdown for a pull request, and as a page of its own."""

import re
from typing import Any

from edgewright.pipeline.report.rows import comparison, failed_rows, passed_rows
from edgewright.pipeline.verdict import Verdict

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|~#])")


def verdict_markdown(verdict: Verdict) -> str:
    """GitHub-flavoured Markdown: what failed in a table, what holds folded away."""
    return _render("verdict.md.j2", verdict)


def verdict_html(verdict: Verdict) -> str:
    """One self-contained HTML page."""
    return _render("verdict.html.j2", verdict)


def _render(template: str, verdict: Verdict) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("edgewright.pipeline.report"),
        autoescape=template.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _cell
    values = {"failed": failed_rows(verdict), "passed": passed_rows(verdict), "facts": comparison(verdict)}
    return environment.get_template(template).render(verdict=verdict, **values)


def _cell(value: Any) -> str:
    """Text that Markdown shows as it is, on one line; labels and paths may hold any character."""
    return _MARKDOWN.sub(r"\\\1", " ".join(str(value).split()))
