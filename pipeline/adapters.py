"""What this installation can do: every adapter by kind, or why it cannot load here."""

import inspect
from dataclasses import dataclass

from edgewright.export.families import ALIASES
from edgewright.runtime import plugins
from edgewright.runtime.errors import EdgeError

_FAMILIES = "edgewright.export.families"
_PACKAGES = {
    "families": _FAMILIES,
    "backends": "edgewright.runtime.backends",
    "heads": "edgewright.runtime.heads",
    "NMS variants": "edgewright.runtime.nms",
    "region proposals": "edgewright.runtime.proposals",
    "refinements of class maps": "edgewright.runtime.refine",
    "sources": "edgewright.runtime.sources",
    "sinks": "edgewright.runtime.sinks",
    "steps": "edgewright.runtime.steps",
    "trackers": "edgewright.runtime.tracking",
    "data sets": "edgewright.pipeline.datasets",
}


@dataclass(frozen=True)
class Adapter:
    """One adapter: its name, whether it loads on this machine, and what it is (or what is missing)."""

    name: str
    available: bool
    about: str


def adapters() -> dict[str, tuple[Adapter, ...]]:
    """Every adapter by kind, found by file name and loaded to see whether it can."""
    return {kind: tuple(_describe(package, name) for name in _names(package)) for kind, package in _PACKAGES.items()}


def _names(package: str) -> tuple[str, ...]:
    try:
        return plugins.names(package)
    except ModuleNotFoundError:
        return ()


def _describe(package: str, name: str) -> Adapter:
    try:
        module = plugins.load(package, name)
        # TensorRT is imported only once a driver was seen, so that its file always loads.
        missing = module.unavailable() if hasattr(module, "unavailable") else None
    except (EdgeError, ImportError, OSError) as err:
        return Adapter(name, False, f"not available: {err}")
    if missing is not None:
        return Adapter(name, False, f"not available: {missing}")
    first_paragraph = " ".join((inspect.getdoc(module) or "").split("\n\n", 1)[0].split())
    aliases = [alias for alias, family in ALIASES.items() if family == name] if package == _FAMILIES else []
    also = f" Also called {', '.join(aliases)}." if aliases else ""
    return Adapter(name, True, f"{first_paragraph}{also}")
