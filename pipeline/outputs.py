"""Two outputs of one command never go to the same file."""

from collections.abc import Mapping
from pathlib import Path

from edgewright.runtime.errors import UsageError


def refuse_same_file(outputs: Mapping[str, str | None]) -> None:
    """UsageError when two of the named outputs (option → path, None where it was not given) are the same file."""
    seen: dict[Path, str] = {}
    for option, path in outputs.items():
        if path is None or path == "-":
            continue
        place = Path(path).resolve()
        if place in seen:
            raise UsageError(f"{seen[place]} and {option} both go to {path}; give each output a file of its own")
        seen[place] = option
