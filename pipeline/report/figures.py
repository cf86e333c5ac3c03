"""Figures in the style of a page, as part of it or as files."""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgewright.runtime import plugins
from edgewright.runtime.atomic import atomic_file
from edgewright.runtime.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Text and lines of this colour take that of the page, which may be dark.
INK = "#010203"
_SUFFIXES = (".svg", ".png", ".pdf")


@dataclass(frozen=True, eq=False)
class Plot:
    """A figure and what it says in words, for who cannot see it; `name` is that of its file."""

    name: str
    title: str
    alt: str
    figure: "Figure"

    def inline(self) -> str:
        """SVG to be put into a page: in the page's colours, with ids of its own."""
        with style(INK):
            buffer = io.StringIO()
            self.figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        svg = buffer.getvalue()
        svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
        svg = re.sub(r'(?<![\w:-])id="([^"]+)"', rf'id="{self.name}-\1"', svg)
        svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{self.name}-\1)", svg)
        svg = re.sub(r'href="#([^"]+)"', rf'href="#{self.name}-\1"', svg)
        return svg.replace(INK, "currentColor").replace("<svg ", '<svg aria-hidden="true" ', 1)

    def save(self, path: Path) -> None:
        """A file of its own, dark on white."""
        import matplotlib as mpl

        coloured: list[Any] = self.figure.findobj(lambda artist: hasattr(artist, "get_color"))
        for artist in coloured:
            if _is_ink(artist.get_color()):
                artist.set_color("black")
        for axes in self.figure.axes:
            for spine in axes.spines.values():
                spine.set_edgecolor("black")
            axes.tick_params(colors="black", which="both")
        with atomic_file(path) as temporary, mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": self.name}):
            kind = path.suffix.lstrip(".").lower()
            metadata = {} if kind == "png" else {"Date": None} if kind == "svg" else {"CreationDate": None}
            self.figure.savefig(temporary, format=kind, facecolor="white", dpi=150, metadata=metadata)


def check_picture(path: str | Path) -> None:
    """UsageError unless the suffix is one of a picture."""
    if Path(path).suffix.lower() not in _SUFFIXES:
        raise UsageError(f"a picture is written as {', '.join(_SUFFIXES)}, not as {path}; choose one of these suffixes")


def drawn(make: Callable[..., Plot], *arguments: Any) -> Plot:
    """The plot, in the style of a page."""
    with style(INK):
        return make(*arguments)


@contextmanager
def style(ink: str = INK) -> Iterator[None]:
    """Figures made or written meanwhile look alike; MissingDependencyError without matplotlib."""
    try:
        import matplotlib as mpl
    except ModuleNotFoundError as err:
        raise plugins.missing_dependency(err, needed_by="drawing figures") from err
    settings: Any = {
        "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#7a8594",
        "grid.alpha": 0.25, "axes.axisbelow": True, "text.color": ink, "axes.labelcolor": ink, "axes.edgecolor": ink,
        "xtick.color": ink, "ytick.color": ink, "svg.fonttype": "none", "svg.hashsalt": "edgewright", "legend.frameon": False,
        "legend.fontsize": 8, "font.family": "sans-serif", "text.parse_math": False,
    }  # fmt: skip
    with mpl.rc_context(settings):
        yield


def _is_ink(color: Any) -> bool:
    from matplotlib.colors import to_hex

    try:
        return bool(to_hex(color) == INK)
    except (ValueError, TypeError):
        return False
