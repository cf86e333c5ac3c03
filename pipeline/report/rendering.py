"""Templates of pages and texts."""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|~#])")


def render(template: str, **values: Any) -> str:
    """A template of this package, with these values; every text is escaped in a `.html.j2`, and where `cell` is said in Markdown."""
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
    environment.filters["name"] = _name
    return environment.get_template(template).render(**values)


def _cell(value: Any) -> str:
    """Text that Markdown shows as it is, on one line; labels and paths may hold any character."""
    return _MARKDOWN.sub(r"\\\1", " ".join(str(value).split()))


def _name(value: str) -> "Markup":
    """The name of a metric, which a narrow page may break between its parts: AP/traffic light, latency.end_to_end.p50."""
    from markupsafe import Markup, escape

    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=[/._])(?=[^\s])", value))
