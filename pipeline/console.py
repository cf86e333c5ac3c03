"""stdout is the result, stderr is the talk."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgewright.runtime.atomic import atomic_file

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")


def console() -> "Console":
    """The talk: a rich console on stderr."""
    from rich.console import Console

    return Console(stderr=True)


def result_console() -> "Console":
    """The result: a rich console on stdout, plain and wide enough when it is piped."""
    from rich.console import Console

    class Result(Console):
        def on_broken_pipe(self) -> None:
            # Rich would exit with 1, which means that a gate failed.
            raise BrokenPipeError

    return Result() if sys.stdout.isatty() else Result(width=120, color_system=None)


def progress(items: Iterable[T], *, total: int | None, description: str) -> Iterator[T]:
    """The items, with a bar on stderr while they are consumed; no bar when stderr is not a terminal."""
    with counting(total=total, description=description) as count:
        for number, item in enumerate(items, start=1):
            yield item
            count(number)


@contextmanager
def counting(*, total: int | None, description: str) -> Iterator[Callable[[int], None]]:
    """Yields what moves a bar on stderr to a number; there is no bar when stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda number: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console(), transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda number: bar.update(task, completed=number)


def write_json(path: Path | str, data: Any) -> None:
    """Write `data` as JSON in one step; NaN and infinity are refused (ValueError), since JSON has none."""
    text = json.dumps(data, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
