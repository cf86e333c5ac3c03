"""`edgewright benchmark`: speed, memory and size of a bundle on this machine."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from edgewright.pipeline.commands._options import engine_options, json_option, propose_option

if TYPE_CHECKING:
    from rich.console import Console

    from edgewright.pipeline.report.schema import Report


@click.command()
@click.argument("bundle", metavar="BUNDLE")
@engine_options
@propose_option
@click.option(
    "--seconds", type=click.FloatRange(min=0), default=5.0, show_default=True, help="Measure at least so long,"
)
@click.option(
    "--iterations", type=click.IntRange(min=1), default=50, show_default=True, help="and at least so many runs."
)
@click.option("--warmup", type=click.IntRange(min=0), default=None, help="Runs before.  [default: until stable]")
@click.option(
    "--frames",
    metavar="SOURCE",
    default=None,
    help="Pictures to run on, such as a video; its first 16 frames are taken.  [default: the bundle's golden image]",
)
@json_option
def command(
    bundle: str,
    backend: str,
    precision: str,
    threads: int | None,
    propose: str | None,
    seconds: float,
    iterations: int,
    warmup: int | None,
    frames: str | None,
    json_path: str | None,
) -> None:
    """Measure BUNDLE on this machine, one frame after another: time by stage, throughput, cold start, memory and size."""
    from edgewright.pipeline.benchmark import benchmark
    from edgewright.pipeline.console import result_console, write_json
    from edgewright.runtime.atomic import atomic_file
    from edgewright.runtime.bundle import load_bundle

    loaded = load_bundle(bundle)
    with ExitStack() as stack:
        # Opened first, so that a path that cannot be written is known before the long run.
        file = stack.enter_context(atomic_file(json_path)) if json_path is not None else None
        report = benchmark(
            loaded,
            backend=backend,
            precision=precision,
            threads=threads,
            propose=propose,
            seconds=seconds,
            iterations=iterations,
            warmup=warmup,
            frames=frames,
            tell=stack.enter_context(_phases()),
        )
        if file is not None:
            write_json(file, report.model_dump(mode="json"))
    _print(report, result_console())


@contextmanager
def _phases() -> Iterator[Callable[[str, float], None]]:
    """A bar on stderr that is drawn only when it is told to, since a thread that draws would disturb the measurement."""
    if not sys.stderr.isatty():
        yield lambda phase, done: None
        return
    from rich.progress import Progress

    from edgewright.pipeline.console import console

    with Progress(console=console(), auto_refresh=False, transient=True) as bar:
        task = bar.add_task("benchmark", total=1.0)

        def tell(phase: str, done: float) -> None:
            bar.update(task, description=phase, completed=done, refresh=True)

        yield tell


def _print(report: "Report", console: "Console") -> None:
    """What was run, latency by stage as a table, the single numbers with their units, the notes."""
    from rich.table import Table

    from edgewright.pipeline.report.numbers import shown

    used, found = report.settings["benchmark"], report.state
    lines = [
        f"{report.bundle.name} {report.bundle.precision} on {used['backend']}, {_count(used.get('threads'), 'thread')}: "
        f"{found['runs']} runs after {found['warmup_runs']} of warm-up",
        f"{_count(used['frame_count'], 'frame')} of {used['frame_size']} from {used['frames']}",
    ]
    table = Table("ms", *("p50", "p95", "p99", "mean"), box=None, padding=(0, 2, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    rows: dict[str, list[str]] = {}
    for measurement in report.measurements:
        if measurement.name.startswith("latency."):
            rows.setdefault(measurement.name.split(".")[1], []).append(f"{measurement.value:.3f}")
    for stage, cells in rows.items():
        table.add_row(stage, *cells)
    numbers = [f"{m.name}: {shown(m.value, m.unit)}" for m in report.measurements if not m.name.startswith("latency.")]
    for item in (*lines, table, *numbers, *(f"note: {note}" for note in report.notes)):
        console.print(item, markup=False, highlight=False, soft_wrap=True)


def _count(number: object, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
