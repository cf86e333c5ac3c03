"""`edgewright export`: a trained network becomes a bundle."""

from typing import Any

import click

from edgewright.pipeline.commands._options import json_option


@click.command()
@click.argument("source", metavar="SOURCE")
@click.option(
    "--source",
    "network",
    metavar="FILE",
    help="Where the network of a recipe is, if neither beside the recipe nor in the working directory.",
)
@click.option("-o", "--output", required=True, metavar="BUNDLE", help="The folder to create.")
@click.option(
    "--family", metavar="F", help="How the network was trained and what its outputs mean (see `edgewright list`)."
)
@click.option(
    "--weights",
    metavar="default|none|FILE",
    help="For a torch network: its published weights, random ones, or a checkpoint.  [default: torchvision's, or the factory's]",
)
@click.option(
    "--roi",
    type=click.Choice(["op", "grid"]),
    help="How regions are cut out: the RoiAlign operator, or GridSample for TensorRT without plugins.  [default: op]",
)
@click.option(
    "--proposals",
    type=click.IntRange(min=1),
    metavar="N",
    help="For a two-stage detector: how many regions its second stage looks at.  [default: 300]",
)
@click.option(
    "--propose",
    metavar="METHOD",
    help="For R-CNN and Fast R-CNN: who finds these regions on the device.  [default: selective_search]",
)
@click.option(
    "--labels", metavar="NAME|FILE", help="A built-in list (coco80, ...) or a text file with one label a line."
)
@click.option("--name", help="The bundle's name.  [default: the file's]")
@click.option("--size", type=(int, int), metavar="H W", help="Input size, where the graph leaves it open.")
@click.option(
    "--tile-overlap",
    type=click.IntRange(min=0),
    metavar="PX",
    help="For a segmenter: run at full resolution on tiles of the input size that overlap so much on every side.",
)
@click.option("--tile-blend", is_flag=True, default=None, help="Mix the maps of neighbouring tiles at their seam.")
@click.option(
    "--uint8-input",
    is_flag=True,
    default=None,
    help="Put order, scale and mean into the graph, which is then fed with pixels as they are: a quarter of the bytes for a GPU.",
)
@click.option(
    "--color",
    type=click.Choice(["bgr", "rgb", "gray"]),
    help="Channel order of the input, where it is not the family's.",
)
@click.option(
    "--resize",
    type=click.Choice(["letterbox", "letterbox_top_left", "stretch"]),
    help="Likewise, how a frame is fitted.",
)
@click.option("--scale", type=float, help="Likewise: input = (pixel * scale - mean) / std.")
@click.option("--mean", help="Likewise, comma-separated, one value per channel.")
@click.option("--std", help="Likewise.")
@click.option("--image", metavar="FILE", help="The picture of the golden run.  [default: a rendered scene]")
@click.option("--force", is_flag=True, help="Replace BUNDLE if it exists.")
@json_option
def command(source: str, network: str | None, output: str, force: bool, json_path: str | None, **options: Any) -> None:
    """Make a bundle of the trained network SOURCE: an ONNX file, torchvision/NAME, transformers/ID or transformers/FOLDER,
    smp/ARCHITECTURE:ENCODER, PACKAGE.MODULE:FACTORY (a function of yours that returns a torch network), or a recipe (.yaml) that
    names one of these: a file, or a built-in one such as yolox_nano.yaml.

    The family makes the outputs follow a head, labels and shapes are checked, a torch network is compared with its graph in
    ONNX Runtime and OpenVINO, the graph runs once on a picture, and the outputs become the bundle's golden tensors.
    """
    from pathlib import Path

    from edgewright.pipeline.console import result_console, write_json
    from edgewright.pipeline.exporting import export
    from edgewright.pipeline.recipe import export_request

    for name in ("mean", "std"):
        options[name] = _numbers(name, options[name])
    bundle = export(export_request(source, options, network=network), Path(output), replace=force)
    if json_path is not None:
        write_json(json_path, bundle.manifest.model_dump(mode="json", exclude_none=True))
    spec = bundle.spec
    result_console().print(
        f"{bundle.path}: {spec.name}, {spec.task}, {len(spec.labels)} labels, head {spec.head.kind}, "
        f"input {spec.preprocess.size_hw[0]}x{spec.preprocess.size_hw[1]}, digest {bundle.digest[:12]}",
        highlight=False, soft_wrap=True, markup=False,
    )  # fmt: skip


def _numbers(name: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as err:
        raise click.BadParameter(f"{text} is no comma-separated list of numbers", param_hint=f"--{name}") from err
