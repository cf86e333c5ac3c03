"""`edgewright compare`: do two bundles, two ways to run one, or a recorded run and a bundle, find the same?"""

from typing import TYPE_CHECKING

import click

from edgewright.pipeline.commands._options import json_option

if TYPE_CHECKING:
    from rich.console import Console

    from edgewright.pipeline.comparison import Comparison

_PRECISIONS = click.Choice(["fp32", "fp16", "int8"])
_SHARE = click.FloatRange(0, 1)
_MOST_CLASSES = 10


@click.command()
@click.argument("a", metavar="BUNDLE_A|recording:DIR")
@click.argument("b", metavar="BUNDLE_B")
@click.option(
    "--frames",
    default=None,
    metavar="SOURCE",
    help="Unlabelled pictures: an image, a folder, a video, synthetic:SEED:COUNT, as `run --source` takes them. A recording brings "
    "its own.",
)
@click.option("--max-frames", type=click.IntRange(min=1), default=None, help="Stop after so many frames.")
@click.option("--backend-a", default="ort", show_default=True, metavar="NAME", help="What runs BUNDLE_A: ort, ov, ...")
@click.option("--backend-b", default="ort", show_default=True, metavar="NAME", help="What runs BUNDLE_B.")
@click.option("--precision-a", type=_PRECISIONS, default="fp32", show_default=True, help="Which model of BUNDLE_A.")
@click.option("--precision-b", type=_PRECISIONS, default="fp32", show_default=True, help="Which model of BUNDLE_B.")
@click.option("--max-lost", type=_SHARE, default=None, help="Most of A's objects that B may not find, 0 to 1.")
@click.option("--max-new", type=_SHARE, default=None, help="Most of B's objects that A may not have.")
@click.option("--max-flipped", type=_SHARE, default=None, help="Most of A's objects that B may call otherwise.")
@click.option("--max-score-drift", type=_SHARE, default=None, help="Most that 95 % of the scores may change.")
@click.option("--max-pixels", type=_SHARE, default=None, help="Most of the pixels that may change their class.")
@click.option(
    "--html", "html_path", metavar="FILE", default=None, help="Write a page with the frames that differ most."
)
@json_option
def command(
    a: str,
    b: str,
    frames: str | None,
    max_frames: int | None,
    backend_a: str,
    backend_b: str,
    precision_a: str,
    precision_b: str,
    max_lost: float | None,
    max_new: float | None,
    max_flipped: float | None,
    max_score_drift: float | None,
    max_pixels: float | None,
    html_path: str | None,
    json_path: str | None,
) -> int:
    """Compare what BUNDLE_A and BUNDLE_B find on unlabelled frames, and name the first stage at which they differ.

    The two may be one bundle on two backends or in two precisions. In place of BUNDLE_A may stand a run that was recorded by `run
    --sink record:DIR`: BUNDLE_B runs on its frames. Exit status 1 when a limit is exceeded; without limits,
    the comparison only tells.
    """
    from contextlib import ExitStack
    from pathlib import Path

    from edgewright.pipeline.compare import Runner, compare
    from edgewright.pipeline.compare_recording import compare_recording
    from edgewright.pipeline.console import result_console, write_json
    from edgewright.pipeline.outputs import refuse_same_file
    from edgewright.runtime.atomic import atomic_file
    from edgewright.runtime.bundle import load_bundle

    refuse_same_file({"--html": html_path, "--json": json_path})
    given = {
        "lost": max_lost, "new": max_new, "flipped": max_flipped, "score-drift": max_score_drift, "pixels": max_pixels
    }  # fmt: skip
    recording = _recording(a, frames)
    second = Runner(load_bundle(b), backend_b, precision_b)
    first = Runner(load_bundle(a), backend_a, precision_a) if recording is None else None
    with ExitStack() as stack:
        # Opened first, so that a path that cannot be written is known before the long run.
        files = {path: stack.enter_context(atomic_file(path)) for path in (json_path, html_path) if path is not None}
        limits = {name: limit for name, limit in given.items() if limit is not None}
        if first is not None and frames is not None:
            compared = compare(first, second, frames, max_frames=max_frames, limits=limits)
        else:
            compared = compare_recording(Path(recording or ""), second, max_frames=max_frames, limits=limits)
        if json_path is not None:
            write_json(files[json_path], compared.comparison.model_dump(mode="json"))
        if html_path is not None:
            from edgewright.pipeline.report.comparison_page import comparison_html

            files[html_path].write_text(comparison_html(compared), encoding="utf-8")
    _print(compared.comparison, result_console())
    return 0 if compared.comparison.passed else 1


def _recording(a: str, frames: str | None) -> str | None:
    """The folder of the recording that `a` names, None for a bundle; UsageError when the frames are missing or too many."""
    from edgewright.runtime.errors import UsageError

    if not a.startswith("recording:"):
        if frames is None:
            raise UsageError("two bundles are compared on frames; say --frames SOURCE, a video or a folder of pictures")
        return None
    if frames is not None:
        raise UsageError(f"{a} brings its own frames; leave --frames {frames} out")
    context = click.get_current_context()
    for option in ("backend_a", "precision_a"):
        if context.get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE:
            name = f"--{option.replace('_', '-')}"
            raise UsageError(f"{a} was recorded and is not run again; leave {name} out")
    return a.removeprefix("recording:")


def _print(comparison: "Comparison", console: "Console") -> None:
    """What was compared, the sums, the classes and frames that differ most, the limits, and the first difference."""
    from edgewright.pipeline.report.comparison_text import comparison_blocks

    for block in comparison_blocks(comparison, most_classes=_MOST_CLASSES):
        console.print(block, markup=False, highlight=False, soft_wrap=isinstance(block, str))
