"""Options of what is watched in a run."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def window_option(text: str) -> Callable[[F], F]:
    """--watch-window, which is explained by `text`."""
    return click.option(
        "--watch-window", type=click.IntRange(min=20), default=500, show_default=True, metavar="FRAMES", help=text
    )


def watch_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--baseline, --max-drop, --watch-window and --fail-on-regression, given to `function` as `watching`."""

    @click.option(
        "--baseline",
        metavar="REPORT.json",
        default=None,
        help="Report of `evaluate` that the accuracy on a labelled source is compared with.  [default: the bundle's reference]",
    )
    @click.option(
        "--max-drop",
        type=click.FloatRange(min=0),
        default=2.0,
        show_default=True,
        metavar="POINTS",
        help="How far accuracy may lie below the baseline: points (hundredths) of AP, mIoU or PQ.",
    )
    @window_option("The last so many frames are compared with baseline and reference.")
    @click.option(
        "--fail-on-regression",
        is_flag=True,
        help="Exit with 1 when accuracy fell below the baseline, or an alarm was raised.",
    )
    @wraps(function)
    def collected(
        *words: Any, baseline: str | None, max_drop: float, watch_window: int, fail_on_regression: bool, **options: Any
    ) -> Any:
        from edgewright.pipeline.live.opening import WatchOptions

        watching = WatchOptions(watch_window, max_drop / 100, baseline, fail_on_regression)
        return function(*words, watching=watching, **options)

    return collected
