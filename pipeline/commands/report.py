"""`edgewright report`: reports as a page for people."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edgewright.pipeline.report.page import Page, Rerun


@click.command()
@click.argument("reports", metavar="REPORT.json...", nargs=-1, required=True)
@click.option(
    "--baseline", "baselines", metavar="BASELINE.json", multiple=True, help="What to compare the first release with."
)
@click.option("-o", "--output", required=True, metavar="FILE.html", help="The page to write.")
@click.option("--plots", "plots_folder", metavar="DIR", default=None, help="Write every figure as SVG and PNG too.")
@click.option("--data", metavar="DATA", default=None, help="The labelled images, to show those that lost most,")
@click.option("--bundle", metavar="BUNDLE", default=None, help="with what the candidate finds there")
@click.option("--baseline-bundle", metavar="BUNDLE", default=None, help="and what the baseline finds.")
def command(
    reports: tuple[str, ...],
    baselines: tuple[str, ...],
    output: str,
    plots_folder: str | None,
    data: str | None,
    bundle: str | None,
    baseline_bundle: str | None,
) -> None:
    """Show reports on one self-contained page: accuracy against latency, stages, curves, classes, device and settings.

    Reports of evaluate and benchmark of one bundle belong together. Figures of images need the .npz beside each report.
    """
    from pathlib import Path

    from edgewright.pipeline.console import result_console
    from edgewright.pipeline.report.page import report_page
    from edgewright.runtime.atomic import atomic_file
    from edgewright.runtime.errors import UsageError

    if Path(output).suffix.lower() not in ("", ".html", ".htm"):
        raise UsageError(f"the page is HTML, and {output} is named otherwise; give a name such as report.html")
    rerun = _rerun(data, bundle, baseline_bundle, has_baseline=bool(baselines))
    # Opened first, so that a path that cannot be written is known before the resampling.
    with atomic_file(output) as temporary:
        page = report_page(reports, baselines, rerun=rerun)
        temporary.write_text(page.html, encoding="utf-8")
    lines = [f"page: {output}, with {len(page.plots)} figures"]
    if plots_folder is not None:
        lines += _save_plots(page, plots_folder)
    for line in lines:
        result_console().print(line, markup=False, highlight=False, soft_wrap=True)


def _rerun(data: str | None, bundle: str | None, baseline_bundle: str | None, *, has_baseline: bool) -> "Rerun | None":
    from edgewright.pipeline.report.page import Rerun
    from edgewright.runtime.bundle import load_bundle
    from edgewright.runtime.errors import UsageError

    given = {
        "--data": data,
        "--bundle": bundle,
        "--baseline-bundle": baseline_bundle,
        "--baseline": has_baseline or None,
    }
    missing = [option for option, value in given.items() if value is None]
    if data is None or bundle is None or baseline_bundle is None or not has_baseline:
        if len(missing) < len(given) and any((data, bundle, baseline_bundle)):
            raise UsageError(
                f"the images that lost most cannot be shown without {' and '.join(missing)}; give all four"
            )
        return None
    return Rerun(data, load_bundle(bundle), load_bundle(baseline_bundle))


def _save_plots(page: "Page", folder: str) -> list[str]:
    from pathlib import Path

    for plot in page.plots:
        for suffix in (".png", ".svg"):
            plot.save(Path(folder) / f"{plot.name}{suffix}")
    return [f"figures: {folder}"]
