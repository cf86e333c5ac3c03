"""Reading the small text files of /proc and /sys, any of which may be missing."""

from pathlib import Path


def read_text(path: Path) -> str | None:
    """The stripped text of a file, NUL as newline; None when it is missing, forbidden or empty."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").replace("\0", "\n").strip() or None
    except OSError:
        return None


def read_int(path: Path) -> int | None:
    """The file's one integer, None when it holds something else."""
    text = read_text(path) or ""
    return int(text) if text.lstrip("-").isdigit() else None


def read_pairs(path: Path, separator: str = ":") -> dict[str, str]:
    """The lines `key: value` of a file; empty when there is none."""
    return pairs(read_text(path) or "", separator)


def pairs(text: str, separator: str = ":") -> dict[str, str]:
    """The lines `key: value` of a text; the last one wins where a key comes twice."""
    split = (line.partition(separator) for line in text.splitlines())
    return {key.strip(): value.strip() for key, found, value in split if found}
