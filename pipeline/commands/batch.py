"""`edgewright batch`: a bundle whose network takes several images at once."""

import click

from edgewright.pipeline.commands._options import json_option


@click.command()
@click.argument("bundle", metavar="BUNDLE")
@click.option("-o", "--output", required=True, metavar="BUNDLE2", help="The folder to create.")
@click.option("--force", is_flag=True, help="Replace BUNDLE2 if it exists.")
@json_option
def command(bundle: str, output: str, force: bool, json_path: str | None) -> None:
    """Open the batch of every model of BUNDLE, in all its precisions: then `run`, `benchmark` and `compile` take --batch N.

    Each row of a batch is compared with what its image gives alone, with two sets of neighbours, in every engine that is here.
    """
    from pathlib import Path

    from edgewright.export.open_batch import open_batch
    from edgewright.pipeline.commands.inspect import parity_line
    from edgewright.pipeline.console import result_console, write_json
    from edgewright.runtime.atomic import check_writable_target
    from edgewright.runtime.bundle import load_bundle

    check_writable_target(Path(output), replace=force)
    made = open_batch(load_bundle(bundle), Path(output), replace_it=force)
    if json_path is not None:
        write_json(json_path, made.manifest.model_dump(mode="json", exclude_none=True))
    lines = [parity_line(proof) for proof in (made.manifest.batch.backends if made.manifest.batch else ())]
    for line in (f"{made.path}: {made.spec.name}, batch open, digest {made.digest[:12]}", *lines):
        result_console().print(line, highlight=False, soft_wrap=True, markup=False)
