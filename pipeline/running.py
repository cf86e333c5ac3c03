"""What `edgewright run` was asked for, and how it is put together: sources, steps, engines, a watch, and the loop between them."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import click

from edgewright.pipeline.console import write_json
from edgewright.pipeline.live.labelled import open_any_source
from edgewright.pipeline.live.opening import WatchOptions, open_watch
from edgewright.pipeline.outputs import refuse_same_file
from edgewright.pipeline.postprocessing import refined, suppressing, thresholds
from edgewright.pipeline.rescue import Engines, Opener
from edgewright.pipeline.run import LoopName, report, run, summary
from edgewright.pipeline.watchdog import watchdog
from edgewright.runtime.atomic import atomic_file
from edgewright.runtime.bundle import Bundle, load_bundle
from edgewright.runtime.errors import EdgeError, StuckError, UsageError
from edgewright.runtime.loop import RunStatistics
from edgewright.runtime.predictor import open_predictor
from edgewright.runtime.several import open_sources
from edgewright.runtime.sources import Source
from edgewright.runtime.spec import ModelSpec, PostprocessSpec
from edgewright.runtime.steps import Step, StepContext, least_score, open_steps
from edgewright.runtime.uri import split_word


@dataclass(frozen=True)
class RunRequest:
    """The options of the verb, by their names; None where it was left out."""

    bundle: str
    source_uris: tuple[str, ...]
    sink_uris: tuple[str, ...]
    web: str | None
    backend: str
    precision: str
    threads: int | None
    propose: str | None
    refine: str | None
    nms: str | None
    tiles: str | None
    track: str | None
    blur: str | None
    prompts: tuple[str, ...]
    conf: float | None
    iou: float | None
    loop: LoopName
    streams: int | None
    batch: int
    batch_wait: float
    frames: str | None
    fallback: str | None
    on_sink_error: str | None
    stuck_after: float
    max_frames: int | None
    watching: WatchOptions
    json_path: str | None

    @property
    def sinks(self) -> tuple[str, ...]:
        return self.sink_uris if self.web is None else (*self.sink_uris, f"web:{self.web}")

    @property
    def newest(self) -> bool | None:
        return None if self.frames is None else self.frames == "newest"

    @property
    def steps(self) -> dict[str, str | None]:
        return {"track": self.track, "blur": self.blur}

    @property
    def wishes(self) -> dict[str, Any]:
        """What was asked of results."""
        named = {name: getattr(self, name) for name in ("conf", "iou", "nms", "refine", "tiles")}
        return _given({**named, **self.steps})


def run_bundle(asked: RunRequest) -> int:
    """The exit status of the run; what was done is told also when an error ends it, which is raised then."""
    _refuse_same_file(asked.sinks, asked.json_path)
    _refuse_turns(asked)
    bundle = load_bundle(asked.bundle)
    chosen = _postprocess(bundle.spec, asked)
    statistics = RunStatistics()
    with (
        atomic_file(asked.json_path) if asked.json_path is not None else nullcontext() as json_file,
        _sources(bundle, asked) as source,
        open_steps(asked.steps, _step_context(bundle.spec, chosen, source)) as steps,
        Engines(_openers(bundle, asked, _seen_by(steps, chosen), source), events=statistics.events) as engines,
        open_watch(bundle, source, engines.predictor, asked.watching, conf_threshold=chosen.conf_threshold) as watch,
        watchdog(asked.stuck_after),
    ):
        # The score from which objects are reported, also where a step sees less sure ones.
        reported = {"conf_threshold": chosen.conf_threshold, "loop": asked.loop}
        about = _about(bundle, {**engines.predictor.settings, **reported}, asked.wishes)
        go = partial(run, source, steps=steps, about=about, watch=watch)
        failure = _run(go, engines, statistics, asked)
        watch.close()
        if json_file is not None:
            settings = {**engines.predictor.settings, **reported, **_given(asked.steps)}
            write_json(json_file, report(bundle, source, settings, statistics, failure, watch))
        for text in (summary(source, statistics), watch.summary()):
            if text:
                click.echo(text, err="jsonl:-" in asked.sinks)
    if failure is not None:
        raise failure
    return 1 if asked.watching.fail_on_regression and watch.regressed else 0


def _run(go: Any, engines: Engines, statistics: RunStatistics, asked: RunRequest) -> EdgeError | None:
    """The error that ended the run, unless it ended before the first frame: what was done before, perhaps for weeks, is told."""
    try:
        go(
            engines.predictor,
            asked.sinks,
            statistics=statistics,
            max_frames=asked.max_frames,
            loop=asked.loop,
            newest=asked.newest,
            lenient=None if asked.on_sink_error is None else asked.on_sink_error == "drop",
            replace=engines.replace,
            tell=partial(click.echo, err=True),
        )
    except EdgeError as err:
        if isinstance(err, StuckError):
            engines.abandon()
        if statistics.frames == 0:
            raise
        return err
    return None


def _sources(bundle: Bundle, asked: RunRequest) -> Source:
    return open_sources(
        asked.source_uris,
        newest=asked.newest,
        open_one=partial(open_any_source, task=bundle.spec.task),
        batch=asked.batch,
        batch_wait_s=asked.batch_wait,
    )


def _openers(bundle: Bundle, asked: RunRequest, postprocess: PostprocessSpec, source: Source) -> list[Opener]:
    """The way to a predictor on the backend, and behind it on the one to fall back to."""
    open_on = partial(
        open_predictor,
        bundle,
        precision=asked.precision,
        threads=asked.threads,
        postprocess=postprocess,
        propose=asked.propose,
        tiles=asked.tiles,
        prompts=asked.prompts if asked.prompts or bundle.spec.task == "prompted" else None,
        streams=_streams(asked, live=source.live),
        batch=asked.batch,
    )
    return [Opener(name, partial(open_on, backend=name)) for name in (asked.backend, asked.fallback) if name]


def _streams(asked: RunRequest, *, live: bool) -> int | None:
    """None where the engine may choose: nobody waits for a frame of a file, so the number of frames a second counts."""
    # A batch is one way to that already.
    one = live or asked.loop == "sequential" or asked.batch > 1
    return 1 if asked.streams is None and one else asked.streams


def _refuse_turns(asked: RunRequest) -> None:
    for name, value in (("streams", asked.streams or 1), ("batch", asked.batch)):
        if asked.loop == "sequential" and value > 1:
            raise UsageError(f"--loop sequential has one frame in hand; leave --{name} out, or run it overlapped")


def _refuse_same_file(sink_uris: tuple[str, ...], json_path: str | None) -> None:
    places = [(split_word(uri) or ("", uri))[1].partition("?")[0] for uri in sink_uris]
    named = {f"--sink {uri} (number {index + 1})": places[index] for index, uri in enumerate(sink_uris)}
    refuse_same_file({**named, "--json": json_path})


def _about(bundle: Bundle, settings: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    identity = {"name": bundle.spec.name, "digest": bundle.digest, "task": bundle.spec.task}
    return {"bundle": identity, "settings": dict(settings), "asked": asked}


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _postprocess(spec: ModelSpec, asked: RunRequest) -> PostprocessSpec:
    return suppressing(spec, refined(thresholds(spec.postprocess, asked.conf, asked.iou), asked.refine), asked.nms)


def _step_context(spec: ModelSpec, chosen: PostprocessSpec, source: Source) -> StepContext:
    return StepContext(spec.labels, spec.task, chosen.conf_threshold, source.fps, source.live)


def _seen_by(steps: Sequence[Step], chosen: PostprocessSpec) -> PostprocessSpec:
    """The settings with the score from which the least demanding step wants to see objects."""
    return chosen.model_copy(update={"conf_threshold": least_score(steps, chosen.conf_threshold)})
