"""Several paths in one text, parted by ':', which a path may contain itself, or one a line in a file."""

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

from edgewright.runtime.errors import DataError


def read_list(path: Path) -> list[str]:
    """The lines of a text file, without the mark that some editors put first; DataError when it is no text."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({err}); save it as UTF-8") from err


def split_paths(text: str, exist: Sequence[Callable[[str], bool]]) -> tuple[str, ...] | None:
    """As many paths as there are tests; None when the text has too few parts.

    The parts that pass all tests win, those that part the text further right first; where none do, the rightmost are given.
    """
    colons = [position for position, letter in enumerate(text) if letter == ":"]
    choices = [_parts(text, at) for at in list(combinations(colons, len(exist) - 1))[::-1]]
    choices = [parts for parts in choices if all(parts) and not _cuts_a_drive(parts)]
    if not choices:
        return None
    fitting = (parts for parts in choices if all(test(part) for test, part in zip(exist, parts, strict=True)))
    return next(fitting, choices[0])


def _parts(text: str, at: Sequence[int]) -> tuple[str, ...]:
    starts, ends = (0, *(position + 1 for position in at)), (*at, len(text))
    return tuple(text[start:end] for start, end in zip(starts, ends, strict=True))


def _cuts_a_drive(parts: Sequence[str]) -> bool:
    # `D:\labels.json` must not become the folder `...:D` and the file `\labels.json`.
    letters = [part.rsplit(":", 1)[-1] for part in parts[:-1]]
    return any(
        len(letter) == 1 and letter.isalpha() and after[0] in "\\/"
        for letter, after in zip(letters, parts[1:], strict=True)
    )
