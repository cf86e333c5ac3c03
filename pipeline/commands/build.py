"""`edgewright build`: the whole chain of a recipe, each stage once."""

from typing import TYPE_CHECKING

import click

from edgewright.pipeline.commands._options import json_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgewright.pipeline.report.schema import Measurement
    from edgewright.pipeline.stages import Outcome


@click.command()
@click.argument("recipe", metavar="RECIPE.yaml")
@click.option(
    "-o", "--output", metavar="DIR", help="Where the results go.  [default: the recipe's `output`, else out/<name>]"
)
@json_option
def command(recipe: str, output: str | None, json_path: str | None) -> int:
    """Export, quantize, verify, evaluate, benchmark and gate as RECIPE.yaml says.

    A stage whose inputs did not change is reused; every stage says why it ran. Interrupted, it goes on where it stopped.
    Exit status 1 when the gate fails.
    """
    from pathlib import Path

    from edgewright.pipeline.build import build
    from edgewright.pipeline.console import console, result_console, write_json
    from edgewright.pipeline.recipe import load_recipe
    from edgewright.pipeline.report.text import print_verdict

    talk = console()

    def tell(outcome: "Outcome") -> None:
        did = "ran" if outcome.ran else "reused"
        talk.print(f"{outcome.stage:<16} {did:<7} {outcome.reason}", highlight=False, markup=False, soft_wrap=True)

    loaded = load_recipe(Path(recipe))
    folder = Path(output or loaded.output or Path("out") / Path(recipe).stem)
    built = build(loaded, folder, tell=tell)
    if json_path is not None:
        write_json(
            json_path,
            {
                "bundle": str(built.bundle.path),
                "digest": built.bundle.digest,
                "passed": built.passed,
                "reports": {name: report.model_dump(mode="json") for name, report in built.reports.items()},
                "verdicts": {name: verdict.model_dump(mode="json") for name, verdict in built.verdicts.items()},
            },
        )
    out = result_console()
    for backend, report in built.reports.items():
        out.print(f"{backend}: {_summary(report.measurements)}", highlight=False, markup=False, soft_wrap=True)
    for verdict in built.verdicts.values():
        print_verdict(verdict, out)
    out.print(f"bundle: {built.bundle.path}", highlight=False, markup=False, soft_wrap=True)
    return 0 if built.passed else 1


def _summary(measurements: "Sequence[Measurement]") -> str:
    """The few numbers that a reader looks for first."""
    from edgewright.pipeline.report.numbers import HEADLINES

    by_name = {m.name: m for m in measurements}
    units = {
        name: "" if by_name[name].unit == "fraction" else f" {by_name[name].unit}"
        for name in HEADLINES
        if name in by_name
    }
    return ", ".join(f"{name} {by_name[name].value:.4g}{unit}" for name, unit in units.items())
