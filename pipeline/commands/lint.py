"""`edgewright lint`: whether a bundle will parse, build and compute correctly on a device, without the device."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgewright.pipeline.commands._options import json_option

if TYPE_CHECKING:
    from edgewright.pipeline.lint import Finding


@click.command()
@click.argument("bundle", metavar="BUNDLE")
@click.option(
    "--target",
    required=True,
    metavar="TARGET",
    help="jetpack5.1 ... jetpack7.2, trtVERSION@smNN such as trt10.3@sm87, or openvino.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    default=None,
    help="Only this precision.  [default: every model in the bundle that the target would take]",
)
@click.option("--sarif", "sarif_path", metavar="FILE", default=None, help="Write the findings as SARIF 2.1.0.")
@json_option
def command(bundle: str, target: str, precision: str | None, sarif_path: str | None, json_path: str | None) -> int:
    """Check every graph of BUNDLE (or an ONNX file) against the rules of TARGET: operators, attributes, types, quantization.

    The exit status is 1 when something will fail or be computed wrongly.
    """
    from edgewright.pipeline.console import write_json
    from edgewright.pipeline.lint import verdict
    from edgewright.pipeline.lint.graphs import graphs_of, lint_target
    from edgewright.pipeline.lint.sarif import sarif
    from edgewright.runtime import plugins

    where = lint_target(target)
    try:
        checked = graphs_of(Path(bundle), where, precision)
    except ModuleNotFoundError as err:
        raise plugins.missing_dependency(err, needed_by="lint") from err
    for graph in checked:
        _print(f"{graph.name} ({graph.precision})", graph.findings)
    findings = [finding for graph in checked for finding in graph.findings]
    if json_path is not None:
        write_json(json_path, {"target": target, "verdict": verdict(findings), "graphs": [_plain(g) for g in checked]})
    if sarif_path is not None:
        from importlib import metadata

        write_json(sarif_path, sarif(checked, path=Path(bundle), version=metadata.version("edgewright")))
    click.echo(f"{target}: {_sentence(verdict(findings), findings)}")
    return 1 if verdict(findings) == "fails" else 0


def _print(title: str, findings: "list[Finding]") -> None:
    click.echo(title)
    for finding in findings:
        place = "" if finding.where is None else f"{finding.where}: "
        click.echo(f"  {finding.level}: {place}{finding.message}; {finding.remedy} [{finding.rule}: {finding.source}]")
    if not findings:
        click.echo("  nothing found")


def _plain(graph: Any) -> dict[str, Any]:
    return {
        "name": graph.name,
        "precision": graph.precision,
        "findings": [vars(finding) for finding in graph.findings],
    }


def _sentence(verdict: str, findings: "list[Finding]") -> str:
    if verdict == "ok":
        return "no rule objects"
    counts = [(level, sum(finding.level == level for finding in findings)) for level in ("error", "warning")]
    return ", ".join(f"{count} {level}{'' if count == 1 else 's'}" for level, count in counts)
