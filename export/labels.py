"""Label lists: the names of a network's classes in output order, built in by name or read from a text file."""

import re
from dataclasses import dataclass
from pathlib import Path

from edgewright import configs
from edgewright.runtime import plugins
from edgewright.runtime.errors import UsageError


@dataclass(frozen=True)
class LabelSet:
    """Labels in the order of the network's classes; `category_ids` are the data set's ids of them, None for 0, 1, 2, ..."""

    labels: tuple[str, ...]
    category_ids: tuple[int, ...] | None = None


def load_labels(name_or_file: str | Path) -> LabelSet:
    """The built-in list of that name ("coco80"), else the lines of that text file.

    A line is a label, or a label, a tab and its category id. UsageError says what is wrong with the file and in which line.
    """
    name = str(name_or_file)
    if name in builtin_labels():
        return _parse((_folder() / f"{name}.txt").read_text(encoding="utf-8"), name)
    return _parse(_read(Path(name)), name)


def builtin_labels() -> tuple[str, ...]:
    """The names of the lists that ship with the package, sorted."""
    return tuple(sorted(path.stem for path in _folder().glob("*.txt")))


def _folder() -> Path:
    return Path(configs.__file__).parent / "labels"


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as err:
        known = builtin_labels()
        raise UsageError(
            f"labels: '{path}' is neither a file nor a built-in list{plugins.suggestion(str(path), known)}; "
            f"give a text file with one label a line, or one of: {', '.join(known)}"
        ) from err
    except OSError as err:
        raise UsageError(
            f"labels: {path} cannot be read ({err.strerror}); give a text file with one label a line"
        ) from err
    except UnicodeDecodeError as err:
        raise UsageError(f"labels: {path} is not UTF-8 text; save it as a text file with one label a line") from err
    if "\0" in text:
        raise UsageError(f"labels: {path} is a binary file; give a text file with one label a line")
    return text


def _parse(text: str, name: str) -> LabelSet:
    lines = [line.strip(" \r") for line in text.rstrip().split("\n")]
    if lines == [""]:
        raise UsageError(f"labels: {name} is empty; write one label a line")
    rows = [_parse_line(line, f"labels: {name}, line {number}") for number, line in enumerate(lines, start=1)]
    labels = tuple(label for label, _ in rows)
    ids = tuple(category_id for _, category_id in rows if category_id is not None)
    _refuse_repeats(labels, f"labels: {name}: label")
    _refuse_repeats(ids, f"labels: {name}: category id")
    if ids and len(ids) != len(labels):
        raise UsageError(
            f"labels: {name}: {len(ids)} of {len(labels)} labels have a category id; give all of them one, or none"
        )
    return LabelSet(labels, ids or None)


def _parse_line(line: str, where: str) -> tuple[str, int | None]:
    label, tab, category_id = line.partition("\t")
    if not label:
        raise UsageError(
            f"{where}: the line is blank; the line number is the class, so write a label or delete the line"
        )
    if not tab:
        return label, None
    if not re.fullmatch(r"\s*\d+\s*", category_id):
        raise UsageError(
            f"{where}: '{category_id}' after the tab is not a category id; write 'label<TAB>7', or the label alone"
        )
    return label.strip(), int(category_id)


def _refuse_repeats(values: tuple[object, ...], what: str) -> None:
    seen: set[object] = set()
    for value in values:
        if value in seen:
            raise UsageError(f"{what} '{value}' appears twice; every class needs its own")
        seen.add(value)
