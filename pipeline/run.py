"""A bundle on a source: the loop with its progress bar, and what is said about it in the end."""

import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from edgewright.pipeline.rescue import Continued
from edgewright.pipeline.run_sources import by_name, source_rows, source_table, statuses
from edgewright.runtime.backends import Setting
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import BackendError, EdgeError, StuckError
from edgewright.runtime.loop import RunStatistics, run_loop, stop_on_signals
from edgewright.runtime.overlapped import run_overlapped
from edgewright.runtime.predictor import Predictor
from edgewright.runtime.several import SeveralSources
from edgewright.runtime.sinks import Output, Sink, SinkContext
from edgewright.runtime.sinks._by_source import open_run_sinks
from edgewright.runtime.sources import Source
from edgewright.runtime.status import RunStatus
from edgewright.runtime.steps import Step
from edgewright.runtime.supervision import SupervisedSource
from edgewright.runtime.timing import table

if TYPE_CHECKING:
    from edgewright.pipeline.live.watch import Watch

FORMAT = 1
LoopName = Literal["overlapped", "sequential"]


def run(
    source: Source,
    predictor: Predictor,
    sink_uris: Sequence[str],
    *,
    statistics: RunStatistics,
    max_frames: int | None = None,
    loop: LoopName = "overlapped",
    newest: bool | None = None,
    lenient: bool | None = None,
    replace: Callable[[BackendError], Predictor] | None = None,
    tell: Callable[[str], None] = lambda _: None,
    steps: Sequence[Step] = (),
    about: Mapping[str, Any] | None = None,
    watch: "Watch | None" = None,
) -> None:
    """Run `source` through `predictor` into the sinks until its end, `max_frames`, SIGINT or SIGTERM, or until nobody
    reads standard output any more.

    `newest` is as in `run_overlapped`; the sequential loop takes frames as they come. `lenient` sinks that cannot write lose
    outputs and are tried again, others end the run; the default is lenient for live sources. `replace` gives the predictor to
    go on with when the engine fails; the frames that it had in hand are lost. `tell` gets what a sink has to say to whoever
    started the run, `about` is what it may want to keep of it. `steps` come before drawing and all sinks, `watch` behind them.

    The sinks are closed in any case, and `statistics` holds what was done, also after an error.
    """
    sinks: Sequence[Sink] = ()

    def status() -> RunStatus:
        _count_lost(sinks, statistics)
        return _status(source, predictor, statistics, watch)

    context = SinkContext(predictor.spec.labels, source.name, source.fps, source.live, status, tell, about or {})
    lenient = source.live if lenient is None else lenient
    try:
        with (
            open_run_sinks(sink_uris, context, by_name(source), lenient=lenient) as sinks,
            stop_on_signals(source.interrupt) as stop,
            _bar(source, max_frames, statistics, watch) as on_output,
        ):
            go = partial(
                run_loop if loop == "sequential" else partial(run_overlapped, newest=newest),
                Continued(source, predictor.batch),
                sinks=sinks,
                labels=predictor.spec.labels,
                statistics=statistics,
                max_frames=max_frames,
                stop=stop,
                on_output=on_output,
                steps=steps if watch is None or not watch.is_active else (*steps, watch),
            )
            while (other := _other_engine(go, predictor, replace)) is not None:
                predictor = other
            # From here on nothing more is counted as dropped: it is over, and not too slow.
            source.interrupt()
    except BrokenPipeError:
        # The reader (`| head`) has seen enough; what the interpreter still holds for it goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        _count_lost(sinks, statistics)


def _other_engine(
    go: Callable[..., None], predictor: Predictor, replace: Callable[[BackendError], Predictor] | None
) -> Predictor | None:
    """Who goes on when the engine failed; None when the run is over."""
    try:
        go(network=predictor)
    except BackendError as err:
        if replace is None or isinstance(err, StuckError):
            raise
        return replace(err)
    return None


def _count_lost(sinks: Sequence[Sink], statistics: RunStatistics) -> None:
    lost = sum(sink.lost for sink in sinks)
    if lost:
        statistics.events["outputs_lost"] = lost


def summary(source: Source, statistics: RunStatistics) -> str:
    """What a run did, for people: counts and rates, the stage table, and what the table leaves out."""
    if statistics.frames == 0:
        return f"0 frames, {source.skipped} skipped: stopped before the first was done"
    sources = source_table(source, statistics)
    lines = [
        summary_line(source, statistics),
        "",
        *([*sources, ""] if sources else []),
        table(statistics.summaries()),
        "",
    ]
    if statistics.warmup_frames:
        lines.append(f"The table leaves out the first {statistics.warmup_frames} frames (warm-up).")
    else:
        lines.append("The table includes the warm-up: so few frames say little about speed.")
    happened = events(source, statistics)
    if happened:
        lines.append("Went wrong and was put right: " + ", ".join(f"{what} {n}" for what, n in happened.items()) + ".")
    return "\n".join(lines)


def summary_line(source: Source, statistics: RunStatistics) -> str:
    """Counts and rates of a run of at least one frame, in one line."""
    count = statistics.dropped + source.dropped
    dropped = f"{count} dropped, " if count else ""
    objects = (
        f"{statistics.detections / statistics.frames:.2f} detections per frame, " if statistics.counts_objects else ""
    )
    return (
        f"{statistics.frames} frame{'s' if statistics.frames > 1 else ''}, {source.skipped} skipped, {dropped}{objects}"
        f"{statistics.frames_per_s:.1f} frames/s over {statistics.seconds:.1f} s{_shared(statistics)}"
    )


def _shared(statistics: RunStatistics) -> str:
    """How full batches were."""
    if not 0 < statistics.inferences < statistics.frames:
        return ""
    return f", {statistics.frames / statistics.inferences:.2f} frames an inference"


def events(source: Source, statistics: RunStatistics) -> Counter[str]:
    """What went wrong in a run and was put right, and how often."""
    counted = Counter(statistics.events)
    if isinstance(source, SupervisedSource | SeveralSources):
        # A copy is made in one step; another thread may count in the meantime.
        counted.update(source.events.copy())
    return +counted


def _status(source: Source, predictor: Predictor, statistics: RunStatistics, watch: "Watch | None") -> RunStatus:
    seen = {} if watch is None else watch.status()
    sources, happened = statuses(source, statistics), events(source, statistics)
    return RunStatus(predictor.spec.name, predictor.settings, sources, happened, seen)


def report(
    bundle: Bundle,
    source: Source,
    settings: Mapping[str, Setting],
    statistics: RunStatistics,
    failure: EdgeError | None,
    watch: "Watch | None" = None,
) -> dict[str, Any]:
    """What a run did, for programs; `error` is the sentence that ended it, None after an orderly end."""
    return {
        "format": FORMAT,
        "verb": "run",
        "bundle": {"name": bundle.spec.name, "digest": bundle.digest},
        "source": source.name,
        "sources": source_rows(source, statistics),
        "settings": dict(settings),
        "frames": statistics.frames,
        "skipped": source.skipped,
        "dropped": statistics.dropped + source.dropped,
        "events": dict(events(source, statistics)),
        "detections": statistics.detections,
        "inferences": statistics.inferences or statistics.frames,
        "seconds": round(statistics.seconds, 6),
        "frames_per_s": round(statistics.frames_per_s, 3),
        "warmup_frames": statistics.warmup_frames,
        "stages": {stage: asdict(figures) for stage, figures in statistics.summaries().items()},
        **({} if watch is None else watch.status()),
        "error": None if failure is None else str(failure),
    }


@contextmanager
def _bar(
    source: Source, max_frames: int | None, statistics: RunStatistics, watch: "Watch | None"
) -> Iterator[Callable[[Output], None] | None]:
    """Yields what moves a bar on stderr with every output: with frames/s, and without end when the length is unknown."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    from edgewright.pipeline.console import console

    known = [count for count in (source.length, max_frames) if count is not None]
    total = min(known) if known else None
    text = TextColumn("{task.description}", markup=False)
    columns = (SpinnerColumn(), text, *((BarColumn(), TimeRemainingColumn()) if total else ()))
    with Progress(*columns, console=console(), transient=True) as progress, _log_above_bar():
        task = progress.add_task(source.name, total=total)

        def on_output(output: Output) -> None:
            count = f"{statistics.frames}/{total}" if total else f"{statistics.frames}"
            brief = "" if watch is None else f"  {watch.brief()}"
            progress.update(
                task,
                completed=statistics.frames + source.skipped if output.frame.origin else output.frame.index + 1,
                description=f"{source.name}  frame {count}  {statistics.frames_per_s:.1f} frames/s{brief}",
            )

        yield on_output


@contextmanager
def _log_above_bar() -> Iterator[None]:
    """Send what is logged to stderr through the stand-in that a running bar puts there, which prints above the bar."""
    handlers = [h for h in logging.getLogger().handlers if type(h) is logging.StreamHandler]
    streams = [handler.setStream(sys.stderr) for handler in handlers]
    try:
        yield
    finally:
        for handler, stream in zip(handlers, streams, strict=True):
            if stream is not None:
                handler.setStream(stream)
