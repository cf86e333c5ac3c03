"""Pages in Markdown of which a script makes a section, or some rows of a table."""

import re
from collections.abc import Sequence
from pathlib import Path

from edgewright.runtime.atomic import atomic_file


def table_row(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |\n"


def with_rows_of(old: str, page: str, order: Sequence[str]) -> str:
    """`page`, with those rows of the same tables in `old` whose first cell none of its own rows has, in the order of first cells.

    Tables are the same when their titles are.
    """
    known = dict(tables(old))
    for titles, rows in tables(page):
        made = {first_cell(row) for row in rows}
        merged = rows + [row for row in known.get(titles, []) if first_cell(row) in set(order) - made]
        merged.sort(key=lambda row: order.index(first_cell(row)))
        head = titles + "\n" + "".join(f"{row}\n" for row in rows)
        page = page.replace(head, titles + "\n" + "".join(f"{row}\n" for row in merged))
    return page


def tables(page: str) -> list[tuple[str, list[str]]]:
    """The tables of a page: the two lines of titles, and the rows."""
    found: list[list[str]] = [[]]
    for line in page.splitlines():
        if line.startswith("|"):
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [("\n".join(lines[:2]), lines[2:]) for lines in found if len(lines) >= 2]


def first_cell(row: str) -> str:
    return row.split("|")[1].strip()


def write_section(path: Path, text: str) -> None:
    """Put `text` in the place of the section with its title."""
    title = text.splitlines()[0]
    page, count = re.subn(
        rf"^{re.escape(title)}$.*?(?=^## |\Z)",
        lambda _: text + "\n",
        path.read_text(encoding="utf-8"),
        flags=re.M | re.S,
    )
    if count != 1:
        raise SystemExit(f"{path} has {count} sections '{title}', one is wanted")
    with atomic_file(path) as temporary:
        temporary.write_text(page.rstrip() + "\n", encoding="utf-8")
