"""`edgewright compile`: a TensorRT engine of a bundle, planned and checked anywhere, built on the device."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgewright.pipeline.commands._options import json_option

if TYPE_CHECKING:
    from edgewright.pipeline.compiling import Compilation


@click.command()
@click.argument("bundle", metavar="BUNDLE")
@click.option(
    "--target",
    metavar="TARGET",
    default=None,
    help="jetpack5.1 ... jetpack7.2, or trtVERSION@smNN such as trt10.3@sm87.  [default: this device]",
)
@click.option(
    "-o",
    "--output",
    metavar="FOLDER",
    default=None,
    help="Where the engine and its record go.  [default: the cache in which `--backend trt` looks]",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    default="fp16",
    show_default=True,
    help="Which model of the bundle, and how it is computed.",
)
@click.option(
    "--dla",
    type=click.IntRange(0, 1),
    default=None,
    help="Build for this DLA core of a Xavier or Orin, as `--backend dla0` runs it.  [default: the GPU]",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=None,
    help="Build for so many images at once, of a bundle of `edgewright batch`, as `run --batch` runs it.  [default: 1]",
)
@click.option("--print-trtexec", is_flag=True, help="Print the trtexec command alone, and build nothing.")
@json_option
def command(
    bundle: str,
    target: str | None,
    output: str | None,
    precision: Any,
    dla: int | None,
    batch: int | None,
    print_trtexec: bool,
    json_path: str | None,
) -> int:
    """Plan the TensorRT engine of BUNDLE, check its graph against the rules of TARGET, and build it where TensorRT is.

    The exit status is 1 when a rule says that the build cannot succeed; nothing is built then.
    """
    from edgewright.pipeline.compiling import compile_bundle
    from edgewright.pipeline.console import write_json

    done = compile_bundle(
        Path(bundle),
        target,
        precision=precision,
        output=None if output is None else Path(output),
        build=not print_trtexec,
        tell=lambda text: click.echo(text, err=True),
        dla_core=dla,
        batch=batch,
    )
    if json_path is not None:
        write_json(json_path, {"graphs": [_plain(one) for one in done]})
    for one in done:
        if print_trtexec:
            click.echo(one.trtexec)
        else:
            _print(one)
    return 1 if any(one.fails for one in done) else 0


def _print(done: "Compilation") -> None:
    from edgewright.pipeline.compiling import describe

    for line in describe(done.spec, done.target):
        click.echo(line)
    if done.findings is None:
        click.echo("lint       not checked: the package onnx is not installed here")
    for finding in done.findings or ():
        place = "" if finding.where is None else f"{finding.where}: "
        click.echo(f"  {finding.level}: {place}{finding.message}; {finding.remedy} [{finding.rule}: {finding.source}]")
    if done.findings == []:
        click.echo("lint       no rule objects")
    click.echo(f"trtexec    {done.trtexec}")
    click.echo(f"engine     {done.engine or _why_not(done)}")


def _why_not(done: "Compilation") -> str:
    if done.fails:
        return "not built: a rule says that it cannot be"
    return f"not built here: {done.not_built or 'a rule objects to another graph of the bundle'}"


def _plain(done: "Compilation") -> dict[str, Any]:
    return {
        "graph": done.graph,
        "spec": done.spec.model_dump(mode="json"),
        "findings": None if done.findings is None else [vars(finding) for finding in done.findings],
        "trtexec": done.trtexec,
        "engine": None if done.engine is None else str(done.engine),
        "not_built": done.not_built,
    }
