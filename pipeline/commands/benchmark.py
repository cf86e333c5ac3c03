"""`edgewright benchmark`: speed, memory and size of a bundle on this machine."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from edgewright.pipeline.commands._options import (
    engine_options,
    json_option,
    nms_option,
    propose_option,
    tiles_option,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from edgewright.pipeline.report.schema import Against, Report, Scalar
    from edgewright.pipeline.scenarios import Name


@click.command()
@click.argument("bundle", metavar="BUNDLE")
@engine_options
@propose_option
@nms_option
@tiles_option
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many images go through the engine at once; for a bundle of `edgewright batch`.",
)
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
@click.option(
    "--against",
    metavar="BASELINE",
    default=None,
    help="Another bundle, or the same: both are run in turn, in processes of their own, and compared.",
)
@click.option("--against-backend", metavar="NAME", default=None, help="Its engine.  [default: that of BUNDLE]")
@click.option(
    "--against-precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    default=None,
    help="Which model of it.  [default: that of BUNDLE]",
)
@click.option(
    "--scenario",
    type=click.Choice(["single_stream", "multi_stream", "offline", "engine"]),
    default=None,
    help="A scenario of MLPerf Inference to run for --seconds more; or the engine alone, as benchmark_app and trtexec time it.",
)
@click.option(
    "--accuracy",
    metavar="REPORT REFERENCE",
    nargs=2,
    default=None,
    help="Reports of `evaluate`, of this bundle and of the fp32 one: states the accuracy in percent of the reference's.",
)
@json_option
def command(
    bundle: str,
    backend: str,
    precision: str,
    threads: int | None,
    propose: str | None,
    nms: str | None,
    tiles: str | None,
    batch: int,
    seconds: float,
    iterations: int,
    warmup: int | None,
    frames: str | None,
    against: str | None,
    against_backend: str | None,
    against_precision: str | None,
    scenario: "Name | None",
    accuracy: tuple[str, str] | None,
    json_path: str | None,
) -> None:
    """Measure BUNDLE on this machine, one frame after another: time by stage, throughput, power, cold start, memory, size."""
    from edgewright.pipeline.benchmark import benchmark
    from edgewright.pipeline.console import result_console, write_json
    from edgewright.pipeline.interleaved import Side
    from edgewright.pipeline.postprocessing import suppressing
    from edgewright.pipeline.report.schema import load_report
    from edgewright.pipeline.scenarios import relative_accuracy
    from edgewright.runtime.atomic import atomic_file
    from edgewright.runtime.bundle import load_bundle
    from edgewright.runtime.errors import UsageError

    loaded = load_bundle(bundle)
    opponent = None
    if against is not None:
        opponent = Side(load_bundle(against), against_backend or backend, against_precision or precision)
    elif against_backend or against_precision:
        raise UsageError("--against-backend and --against-precision say how --against is run; add --against BASELINE")
    relative = relative_accuracy(*map(load_report, accuracy)) if accuracy else None
    with ExitStack() as stack:
        # Opened first, so that a path that cannot be written is known before the long run.
        file = stack.enter_context(atomic_file(json_path)) if json_path is not None else None
        report = benchmark(
            loaded,
            backend=backend,
            precision=precision,
            threads=threads,
            propose=propose,
            postprocess=suppressing(loaded.spec, loaded.spec.postprocess, nms) if nms is not None else None,
            tiles=tiles,
            batch=batch,
            seconds=seconds,
            iterations=iterations,
            warmup=warmup,
            frames=frames,
            against=opponent,
            scenario=scenario,
            tell=stack.enter_context(_phases()),
        )
        if relative is not None:
            report = report.model_copy(update={"measurements": (*report.measurements, relative)})
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
        f"{report.bundle.name} {report.bundle.precision} on {used['backend']}, {_place(used)}: "
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
    compared = [_in_turn(report.against)] if report.against else []
    for item in (*lines, table, *compared, *numbers, *(f"note: {note}" for note in report.notes)):
        console.print(item, markup=False, highlight=False, soft_wrap=True)


def _in_turn(against: "Against") -> "Table":
    """The ratios of the medians and of the tails with their intervals, and how far the baseline was from itself."""
    from rich.table import Table

    title = f"against {against.baseline.name} {against.baseline.precision} ({against.baseline.digest[:12]})"
    table = Table(title, "candidate", "baseline", "ratio", "95 % interval", "noise", box=None, padding=(0, 2, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for ratio in against.ratios:
        if ratio.name.endswith((".p50", ".p99")):
            low, high = (f"{bound:.3f}" for bound in ratio.interval)
            numbers = (f"{ratio.candidate:.3f}", f"{ratio.baseline:.3f}", f"{ratio.ratio:.3f}")
            table.add_row(ratio.name, *numbers, f"{low} to {high}", f"{ratio.noise:.1%}")
    return table


def _place(used: "Mapping[str, Scalar]") -> str:
    """How it was run: on a GPU or DLA what else a timing holds for, on a processor the threads."""
    if "processor" not in used:
        threads = _count(used.get("threads"), "thread")
        return f"{threads}, batch {used['batch']}" if "batch" in used else threads
    return f"{used['processor']}, batch {used['batch']}, transfers {used['transfers']}"


def _count(number: object, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
