"""`edgewright demo`: the main job on what ships with the package."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from edgewright.pipeline.build import Built
    from edgewright.pipeline.stages import Outcome

_ROWS = (
    ("AP", "AP (0.50:0.95)", "{:.3f}"),
    ("AP50", "AP50", "{:.3f}"),
    ("AP-small", "AP of small parts", "{:.3f}"),
    ("latency.infer.p50", "inference, median (ms)", "{:.1f}"),
    ("latency.end_to_end.p50", "frame to detections, median (ms)", "{:.1f}"),
    ("latency.end_to_end.p99", "frame to detections, p99 (ms)", "{:.1f}"),
    ("throughput", "frames per second", "{:.0f}"),
    ("cold_start", "cold start (s)", "{:.2f}"),
    ("peak_rss", "peak memory (MiB)", "{:.0f}"),
)
_NEXT = """
Next, with your own model and camera:
  edgewright export MODEL.onnx --family yolov8 --labels coco80 -o my_bundle
  edgewright evaluate my_bundle --data coco:IMAGES_DIR:ANNOTATIONS.json --json report.json
  edgewright run my_bundle --source camera:0 --sink video:out.mp4"""


@click.command()
@click.option("-o", "--output", metavar="DIR", default="out/demo", show_default=True, help="Where the results go.")
@click.option("--frames", type=click.IntRange(min=1), default=150, show_default=True, help="Length of the film.")
def command(output: str, frames: int) -> int:
    """Take the built-in conveyor detector from an ONNX file to a gated release, and run it on a rendered film.

    Exit status 1 when the release does not pass its gate on this machine, or a planted mistake does.
    """
    from pathlib import Path

    from edgewright.pipeline import demo
    from edgewright.pipeline.console import console, result_console

    talk, out, folder = console(), result_console(), Path(output)

    def tell(outcome: "Outcome") -> None:
        did = "ran" if outcome.ran else "reused"
        talk.print(f"{outcome.stage:<16} {did:<7} {outcome.reason}", highlight=False, markup=False, soft_wrap=True)

    def say(text: str) -> None:
        out.print(text, highlight=False, markup=False, soft_wrap=True)

    say("1. A trained network becomes a bundle; its accuracy and speed are measured on each engine.")
    built = demo.chain(folder, tell=tell)
    out.print(_table(built), highlight=False)
    say("2. The gate compares it with the baseline that ships with it.")
    for backend, verdict in built.verdicts.items():
        say(f"   {backend}: {verdict.headline}")
    say("3. The same network, fed with red and blue exchanged by mistake:")
    caught = demo.swapped_colours(folder, tell=tell)
    say(f"   {caught.headline}")
    say("4. It runs on a film, as it would on a camera.")
    made = demo.film(built.bundle, folder, backend=list(built.reports)[-1], frames=frames)
    say(f"   {made.counts} (drawing the film takes most of the time)")
    for path, what in (
        (built.bundle.path, "the bundle"),
        (folder / "reports", "reports, as JSON"),
        (folder / "verdicts", "verdicts, as JSON, JUnit XML and Markdown"),
        (made.video, "the film with its detections"),
        (made.picture, "its first frame: found (left), true (right)"),
        (made.log, "one line of JSON per frame"),
    ):
        say(f"   {path}: {what}")
    say(_NEXT)
    return 0 if built.passed and not caught.passed else 1


def _table(built: "Built") -> "Table":
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for backend in built.reports:
        table.add_column(backend, justify="right")
    for name, title, form in _ROWS:
        found = [report.measurement(name) for report in built.reports.values()]
        table.add_row(title, *("-" if m is None else form.format(m.value) for m in found))
    return table
