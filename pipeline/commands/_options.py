"""Options that several verbs share, spelled and explained once."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

backend_option = click.option(
    "--backend",
    default="ort",
    show_default=True,
    metavar="NAME",
    help="Inference engine: ort, ov, trt, dla0, dla1 (see `edgewright list`).",
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    default="fp32",
    show_default=True,
    help="Which model of the bundle.",
)
threads_option = click.option(
    "--threads", type=click.IntRange(min=1), default=None, help="Threads of the engine.  [default: all usable cores]"
)
propose_option = click.option(
    "--propose",
    metavar="METHOD",
    default=None,
    help="For a network that takes regions from outside: selective_search, windows, file:BOXES.json (see `edgewright "
    "propose`).  [default: the bundle's]",
)
refine_option = click.option(
    "--refine",
    metavar="NAME",
    default=None,
    help="Fit class maps to the edges of the picture: crf, or none.  [default: the bundle's]",
)
nms_option = click.option(
    "--nms",
    metavar="VARIANT",
    default=None,
    help="How doubles are removed: hard, soft, diou, adaptive, matrix, weighted; with options as in 'soft?method=linear' (see "
    "docs/nms.md).  [default: the bundle's]",
)
tiles_option = click.option(
    "--tiles",
    metavar="HxW",
    default=None,
    help="For small objects in large pictures: run on overlapping tiles of so many pixels, and on the whole; also "
    "'640x640?overlap=0.2&whole=no'.  [default: the whole alone]",
)
conf_option = click.option(
    "--conf", type=click.FloatRange(0, 1), default=None, help="Least score.  [default: the bundle's]"
)
iou_option = click.option(
    "--iou", type=click.FloatRange(0, 1), default=None, help="Overlap for NMS.  [default: the bundle's]"
)
track_option = click.option(
    "--track",
    metavar="TRACKER",
    default=None,
    help="Give objects numbers that stay with them from frame to frame: bytetrack, botsort, ocsort, sort; with options as in "
    "'bytetrack?lost=2' (see docs/tracking.md).",
)
blur_option = click.option(
    "--blur",
    metavar="CLASSES",
    default=None,
    help="Make objects of these classes unrecognizable before anything is drawn, shown or stored: person,face or all; with "
    "options as in 'person?conf=0.1&method=solid' (see docs/privacy.md).",
)
json_option = click.option(
    "--json", "json_path", metavar="FILE", default=None, help="Write the machine-readable report."
)


def engine_options(function: F) -> F:
    """--backend, --precision and --threads."""
    for option in (threads_option, precision_option, backend_option):
        function = option(function)
    return function
