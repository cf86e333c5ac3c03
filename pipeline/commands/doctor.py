"""`edgewright doctor`: what this machine has for running bundles, what is wrong, and what mends it."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from textwrap import fill
from typing import TYPE_CHECKING

import click

from edgewright.pipeline.commands._options import json_option

if TYPE_CHECKING:
    from edgewright.pipeline.doctor import Finding
    from edgewright.pipeline.doctor.machine import Machine, Target

_STYLES = {"ok": "green", "note": "yellow", "problem": "bold red", "unknown": "magenta"}


@click.command()
@click.argument("bundle", metavar="[BUNDLE]", required=False)
@click.option(
    "--target",
    type=click.Choice(["tensorrt", "openvino", "onnxruntime"]),
    default=None,
    help="The engine that must work here.  [default: whatever is installed; on a Jetson TensorRT]",
)
@click.option(
    "--explain",
    "message",
    metavar="MESSAGE",
    default=None,
    help="Look up an error text instead of checking; - reads it from stdin.",
)
@json_option
def command(bundle: str | None, target: "Target | None", message: str | None, json_path: str | None) -> int:
    """Check drivers, engines, OpenCV, cameras, memory and clocks; with BUNDLE run it on every engine that works here.

    The exit status is 1 when something is a problem. The JSON report names no user and no machine, so that it can be sent.
    """
    from edgewright.pipeline.console import write_json
    from edgewright.pipeline.doctor.examination import examine, healthy, report
    from edgewright.pipeline.doctor.machine import this_machine
    from edgewright.runtime.atomic import atomic_file
    from edgewright.runtime.bundle import load_bundle
    from edgewright.runtime.errors import UsageError

    if message is not None:
        if bundle or target or json_path:
            raise UsageError("--explain looks up a text alone; leave the other arguments out")
        return _explain(sys.stdin.read() if message == "-" else message)
    loaded = None if bundle is None else load_bundle(bundle)
    machine = this_machine(target)
    with ExitStack() as stack:
        # Opened first, so that a path that cannot be written is known before the checks.
        file = stack.enter_context(atomic_file(json_path)) if json_path is not None else None
        with _status() as tell:
            findings = examine(machine, loaded, tell)
        if file is not None:
            write_json(file, report(machine, findings, loaded))
    _print(machine, findings)
    return 0 if healthy(findings) else 1


@contextmanager
def _status() -> Iterator[Callable[[str], None]]:
    """What is being looked at, on stderr while it is a terminal: importing an engine takes seconds."""
    if not sys.stderr.isatty():
        yield lambda name: None
        return
    from edgewright.pipeline.console import console

    with console().status("looking") as status:
        yield lambda name: status.update(f"looking at {name}")


def _print(machine: "Machine", findings: "Sequence[Finding]") -> None:
    from rich.text import Text

    from edgewright.pipeline.console import result_console

    out = result_console()
    identity, software = machine.device.identity, machine.device.software
    # Virtual machines name no board, and some boards no processor.
    names = (identity.get("board"), identity.get("cpu_model"), software.get("distribution"))
    place = ", ".join(str(name) for name in names if name) or "an unknown machine"
    out.print(f"edgewright {software.get('edgewright')} on {place}", markup=False, highlight=False)
    for finding in findings:
        mark = "PROBLEM" if finding.status == "problem" else finding.status
        out.print(
            Text.assemble((f"{mark:<9}", _STYLES[finding.status]), _beside(finding.check, finding.found, out.width))
        )
        if finding.fix and finding.status != "ok":
            out.print(Text.assemble(" " * 9, (_beside("", f"→ {finding.fix}", out.width), "cyan")))
    out.print(_summary(findings), markup=False, highlight=False)


def _beside(name: str, text: str, width: int) -> str:
    """The name, and beside it the text in lines of the screen's width."""
    indent = " " * 27
    return fill(f"{name:<18}{text}", width - 9, subsequent_indent=indent, drop_whitespace=True, break_on_hyphens=False)


def _summary(findings: "Sequence[Finding]") -> str:
    problems = [finding.check for finding in findings if finding.status == "problem"]
    notes = sum(finding.status in ("note", "unknown") for finding in findings)
    told = f"{notes} note{'' if notes == 1 else 's'}"
    if not problems:
        return f"no problem, {told}"
    return f"{len(problems)} problem{'' if len(problems) == 1 else 's'} ({', '.join(problems)}), {told}"


def _explain(text: str) -> int:
    from edgewright.pipeline.doctor.explain import explain

    entries = explain(text)
    if not entries:
        click.echo("no known failure says this; run `edgewright doctor`, and report the text if it finds nothing")
        return 1
    for entry in entries:
        click.echo(f"{entry.id}: {entry.cause}")
        click.echo(f"  fix: {entry.fix}")
        click.echo(f"  source: {entry.source}")
    return 0
