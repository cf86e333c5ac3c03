"""`edgewright run`: a bundle on a camera, a video or images."""

from typing import TYPE_CHECKING, Any

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
    refined,
    suppressing,
    thresholds,
    tiles_option,
    track_option,
)
from edgewright.pipeline.commands._watch_options import watch_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgewright.pipeline.live.opening import WatchOptions
    from edgewright.pipeline.run import LoopName
    from edgewright.runtime.bundle import Bundle
    from edgewright.runtime.sources import Source
    from edgewright.runtime.spec import ModelSpec, PostprocessSpec
    from edgewright.runtime.steps import Step, StepContext


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
    "web:[HOST]:PORT; may be given several times; see docs/sinks.md. Of several sources, {source} within is the "
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
def command(
    bundle: str,
    source_uris: tuple[str, ...],
    sink_uris: tuple[str, ...],
    web: str | None,
    backend: str,
    precision: str,
    threads: int | None,
    propose: str | None,
    refine: str | None,
    nms: str | None,
    tiles: str | None,
    track: str | None,
    blur: str | None,
    prompts: tuple[str, ...],
    conf: float | None,
    iou: float | None,
    loop: "LoopName",
    streams: int | None,
    frames: str | None,
    fallback: str | None,
    on_sink_error: str | None,
    stuck_after: float,
    max_frames: int | None,
    watching: "WatchOptions",
    json_path: str | None,
) -> int:
    """Run BUNDLE on a camera, a video or images, and show how long each stage takes.

    Ctrl-C ends a run in order: the frames at hand are finished and the sinks are closed. Where the source has labels, the run
    measures its accuracy as it goes; where the bundle has a reference, it tells when what the camera sees drifts away from it.
    """
    from contextlib import nullcontext
    from functools import partial

    from edgewright.pipeline.console import write_json
    from edgewright.pipeline.live.labelled import open_any_source
    from edgewright.pipeline.live.opening import open_watch
    from edgewright.pipeline.rescue import Engines, Opener
    from edgewright.pipeline.run import report, run, summary
    from edgewright.pipeline.watchdog import watchdog
    from edgewright.runtime.atomic import atomic_file
    from edgewright.runtime.bundle import load_bundle
    from edgewright.runtime.errors import EdgeError, StuckError
    from edgewright.runtime.loop import RunStatistics
    from edgewright.runtime.predictor import open_predictor
    from edgewright.runtime.several import open_sources
    from edgewright.runtime.steps import open_steps

    sink_uris += () if web is None else (f"web:{web}",)
    _refuse_same_file(sink_uris, json_path)
    loaded = load_bundle(bundle)
    chosen = suppressing(loaded.spec, refined(thresholds(loaded.spec.postprocess, conf, iou), refine), nms)
    in_steps = {"track": track, "blur": blur}
    asked = {"conf": conf, "iou": iou, "nms": nms, "refine": refine, "tiles": tiles, **in_steps}
    # The score from which objects are reported, also where a step sees less sure ones.
    reported = {"conf_threshold": chosen.conf_threshold, "loop": loop}
    statistics, failure = RunStatistics(), None
    open_with = partial(
        open_predictor,
        loaded,
        precision=precision,
        threads=threads,
        propose=propose,
        tiles=tiles,
        prompts=prompts if prompts or loaded.spec.task == "prompted" else None,
    )
    with (
        atomic_file(json_path) if json_path is not None else nullcontext() as json_file,
        open_sources(
            source_uris,
            newest=None if frames is None else frames == "newest",
            open_one=partial(open_any_source, task=loaded.spec.task),
        ) as source,
        open_steps(in_steps, _step_context(loaded.spec, chosen, source)) as steps,
        Engines(
            [
                Opener(
                    name,
                    partial(
                        open_with,
                        backend=name,
                        postprocess=_seen_by(steps, chosen),
                        streams=_streams(streams, loop, live=source.live),
                    ),
                )
                for name in (backend, fallback)
                if name
            ],
            events=statistics.events,
        ) as engines,
        open_watch(loaded, source, engines.predictor, watching, conf_threshold=chosen.conf_threshold) as watch,
        watchdog(stuck_after),
    ):
        try:
            run(
                source,
                engines.predictor,
                sink_uris,
                statistics=statistics,
                max_frames=max_frames,
                loop=loop,
                newest=None if frames is None else frames == "newest",
                lenient=None if on_sink_error is None else on_sink_error == "drop",
                replace=engines.replace,
                tell=partial(click.echo, err=True),
                steps=steps,
                about=_about(loaded, {**engines.predictor.settings, **reported}, asked),
                watch=watch,
            )
        except EdgeError as err:
            # What was done before an error is told as well: the run may have lasted for weeks.
            if isinstance(err, StuckError):
                engines.abandon()
            if statistics.frames == 0:
                raise
            failure = err
        watch.close()
        if json_file is not None:
            settings = {**engines.predictor.settings, **reported, **_given(in_steps)}
            write_json(json_file, report(loaded, source, settings, statistics, failure, watch))
        for text in (summary(source, statistics), watch.summary()):
            if text:
                click.echo(text, err="jsonl:-" in sink_uris)
    if failure is not None:
        raise failure
    return 1 if watching.fail_on_regression and watch.regressed else 0


def _streams(given: int | None, loop: "LoopName", *, live: bool) -> int | None:
    """None where the engine may choose: nobody waits for a frame of a file, so the number of frames a second counts."""
    from edgewright.runtime.errors import UsageError

    if loop == "sequential" and (given or 1) > 1:
        raise UsageError("--loop sequential has one frame in hand; leave --streams out, or run it overlapped")
    return 1 if given is None and (live or loop == "sequential") else given


def _refuse_same_file(sink_uris: tuple[str, ...], json_path: str | None) -> None:
    from edgewright.pipeline.outputs import refuse_same_file
    from edgewright.runtime.uri import split_word

    places = [(split_word(uri) or ("", uri))[1].partition("?")[0] for uri in sink_uris]
    named = {f"--sink {uri} (number {index + 1})": places[index] for index, uri in enumerate(sink_uris)}
    refuse_same_file({**named, "--json": json_path})


def _about(bundle: "Bundle", settings: "Mapping[str, Any]", asked: "Mapping[str, Any]") -> dict[str, Any]:
    identity = {"name": bundle.spec.name, "digest": bundle.digest, "task": bundle.spec.task}
    return {"bundle": identity, "settings": dict(settings), "asked": _given(asked)}


def _given(options: "Mapping[str, Any]") -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _step_context(spec: "ModelSpec", chosen: "PostprocessSpec", source: "Source") -> "StepContext":
    from edgewright.runtime.steps import StepContext

    return StepContext(spec.labels, spec.task, chosen.conf_threshold, source.fps, source.live)


def _seen_by(steps: "Sequence[Step]", chosen: "PostprocessSpec") -> "PostprocessSpec":
    """The settings with the score from which the least demanding step wants to see objects."""
    from edgewright.runtime.steps import least_score

    return chosen.model_copy(update={"conf_threshold": least_score(steps, chosen.conf_threshold)})
