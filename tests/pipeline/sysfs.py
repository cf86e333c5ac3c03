"""Trees of files as /proc and /sys have them."""

from collections.abc import Mapping
from pathlib import Path


def planted(root: Path, tree: Mapping[str, str]) -> Path:
    """The folder `root` after writing the tree's files into it."""
    for name, text in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root
