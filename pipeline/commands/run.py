"""`edgewright run`: a bundle on a camera, a video or images."""

from typing import Any

import click

from edgewright.pipeline.commands._options import (
    blur_option,
    conf_option,
    engine_options,
    iou_option,
    json_option,
    nms_option,
    propose_option,
    refine_option,
    tiles_option,
    track_option,
)
from edgewright.pipeline.commands._watch_options import watch_options


@click.command()
@click.argument("bundle", metavar="BUNDLE")
@click.option(
    "--source",
    "source_uris",
    required=True,
    multiple=True,
    metavar="[NAME=]URI",
    help="An image, a folder, a quoted glob pattern or a video; or camera:0, rtsp://HOST/PATH, csi:0, gstreamer:PIPELINE, "
    "synthetic:SEED:COUNT, images:PATH, video:FILE, data:DATA with its labels; see docs/sources.md for their options. Given "
    "several times, their frames take turns.",
)
@click.option(
    "--sink",
    "sink_uris",
    multiple=True,
    metavar="URI",
    help="jsonl:FILE (jsonl:- is stdout), images:DIR, video:FILE.mp4, record:DIR, mqtt://HOST/TOPIC, gstreamer:PIPELINE, "
    "window:, web:[HOST]:PORT; may be given several times; see docs/sinks.md. Of several sources, {source} within is the "
    "name of each.",
)
@click.option(
    "--web",
    metavar="[HOST]:PORT",
    default=None,
    help="Show the run in a browser, with metrics for Prometheus: :8080 for this machine alone, 0.0.0.0:8080 for others, who "
    "need the token that is printed; short for --sink web:[HOST]:PORT, whose options docs/web.md has.",
)
@engine_options
@propose_option
@refine_option
@nms_option
@tiles_option
@track_option
@blur_option
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    metavar="PROMPT",
    help="What a promptable network is to segment: point:X,Y or box:X1,Y1,X2,Y2, in pixels, or with a % in parts of the "
    "picture. Each is an object; '+' joins several of one, background:X,Y says what is not it.",
)
@conf_option
@iou_option
@click.option(
    "--loop",
    type=click.Choice(["overlapped", "sequential"]),
    default="overlapped",
    show_default=True,
    help="Whether the next frame is read and the last one written while the network works, or everything is done in turn.",
)
@click.option(
    "--streams",
    type=click.IntRange(min=1),
    default=None,
    help="How many frames the engine works on side by side: 1 for the youngest results, more for more frames a second, as far as "
    "there are processor cores.  [default: 1 of live sources and in turn, as many as pay of others]",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many frames go through the network at once, of several sources one of each; for a bundle of `edgewright batch`.",
)
@click.option(
    "--batch-wait",
    type=click.FloatRange(min=0, max=10),
    default=0.04,
    show_default=True,
    metavar="SECONDS",
    help="How long the first frame of a batch waits for those of other live sources.",
)
@click.option(
    "--frames",
    type=click.Choice(["newest", "all"]),
    default=None,
    help="Which frames the overlapped loop runs: the newest when the network is free, or each.  [default: newest of live "
    "sources, all of others]",
)
@click.option(
    "--fallback",
    metavar="NAME",
    default=None,
    help="Backend to go on with when the engine is missing, or fails again after it was opened once more.",
)
@click.option(
    "--on-sink-error",
    type=click.Choice(["stop", "drop"]),
    default=None,
    help="What happens when a sink cannot write: the run ends, or outputs are left out and counted until it can.  "
    "[default: drop for live sources, stop for others]",
)
@click.option(
    "--stuck-after",
    type=click.FloatRange(min=1),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="The run ends when an inference has not returned for so long.",
)
@click.option("--max-frames", type=click.IntRange(min=1), default=None, help="Stop after so many frames.")
@watch_options
@json_option
def command(**options: Any) -> int:
    """Run BUNDLE on a camera, a video or images, and show how long each stage takes.

    Ctrl-C ends a run in order: the frames at hand are finished and the sinks are closed. Where the source has labels, the run
    measures its accuracy as it goes; where the bundle has a reference, it tells when what the camera sees drifts away from it.
    """
    from edgewright.pipeline.running import RunRequest, run_bundle

    return run_bundle(RunRequest(**options))
