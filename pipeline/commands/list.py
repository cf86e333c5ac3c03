"""`edgewright list`: every adapter there is, or why it cannot load here."""

import click

from edgewright.pipeline.commands._options import json_option


@click.command()
@json_option
def command(json_path: str | None) -> None:
    """Show every family, backend, head, NMS variant, source, sink and data set, and what the missing ones need."""
    from edgewright.pipeline.adapters import adapters
    from edgewright.pipeline.console import result_console, write_json

    found = adapters()
    if json_path is not None:
        write_json(
            json_path,
            {
                kind: [{"name": e.name, "available": e.available, "about": e.about} for e in entries]
                for kind, entries in found.items()
            },
        )
    out = result_console()
    for kind, entries in found.items():
        out.print(f"{kind}:", highlight=False, style="bold")
        for entry in entries:
            out.print(f"  {entry.name:<22}{entry.about}", highlight=False, markup=False, soft_wrap=True)
