"""`edgewright propose`: regions of a data set, computed once."""

import click


@click.command()
@click.option(
    "--data",
    required=True,
    metavar="DATA",
    help="Images: a folder, coco:IMAGES_DIR:ANNOTATIONS.json, synthetic:SEED:COUNT, ...",
)
@click.option("-o", "--output", required=True, metavar="FILE", help="Where to write them: .json or .npz.")
@click.option(
    "--method",
    metavar="METHOD",
    default="selective_search",
    show_default=True,
    help="Who finds them: selective_search?mode=quality&size=500, windows?smallest=0.05 (see `edgewright list`).",
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Most regions of an image, the best first.",
)
@click.option("--limit", type=click.IntRange(min=1), default=None, help="Only the first so many images.")
def command(data: str, output: str, method: str, count: int, limit: int | None) -> None:
    """Propose regions for every image of DATA and keep them in FILE, for `evaluate` and `run` with --propose file:FILE.

    A search takes seconds an image, and its result does not change: several networks and settings can share it. Where the
    data have boxes, it says how many of them some region covers, which bounds what a network can find.
    """
    from pathlib import Path

    from edgewright.pipeline.datasets import open_dataset
    from edgewright.pipeline.proposing import check_suffix, propose, save_regions
    from edgewright.runtime.atomic import atomic_file

    check_suffix(Path(output))
    dataset = open_dataset(data)
    # Opened first, so that a path that cannot be written is known before the long run.
    with atomic_file(output) as file:
        proposed = propose(dataset if limit is None else dataset.first(limit), method=method, count=count)
        save_regions(file, proposed)
    covered = "" if proposed.covered is None else f"; {proposed.covered:.1%} of the objects are covered (IoU 0.5)"
    click.echo(f"{output}: {proposed.per_image:.0f} regions an image on {len(proposed.regions)} images{covered}")
