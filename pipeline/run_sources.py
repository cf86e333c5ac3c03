"""What is said of each source of a run of several."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from edgewright.runtime.loop import RunStatistics, SourceTally
from edgewright.runtime.several import SeveralSources
from edgewright.runtime.sources import Source
from edgewright.runtime.status import SourceStatus
from edgewright.runtime.supervision import SourceState, SupervisedSource
from edgewright.runtime.timing import aligned


def by_name(source: Source) -> Mapping[str, Source]:
    """The sources of a run by their names; "" where there is one."""
    return {part.name: part.source for part in source.parts} if isinstance(source, SeveralSources) else {"": source}


def statuses(source: Source, statistics: RunStatistics) -> tuple[SourceStatus, ...]:
    """What each source is doing at this moment."""
    if isinstance(source, SeveralSources):
        return tuple(
            SourceStatus(part.name, part.state, dropped=part.dropped, skipped=part.source.skipped)
            for part in source.parts
        )
    state: SourceState = "running" if statistics.frames else "starting"
    if isinstance(source, SupervisedSource):
        state = source.state
    dropped = statistics.dropped + source.dropped
    return (SourceStatus(source.name, state, dropped=dropped, skipped=source.skipped),)


def source_rows(source: Source, statistics: RunStatistics) -> list[dict[str, Any]]:
    """What was done with each of several sources, for programs; none where there is one."""
    if not isinstance(source, SeveralSources):
        return []
    return [
        {
            "name": part.name,
            "source": part.source.name,
            "state": part.state,
            "frames": tally.frames,
            "skipped": part.source.skipped,
            "dropped": part.dropped,
            "detections": tally.detections,
            "events": dict(+part.events),
            "age": None if tally.age is None else asdict(tally.age),
        }
        for part in source.parts
        for tally in [statistics.by_source.get(part.name, SourceTally())]
    ]


def source_table(source: Source, statistics: RunStatistics) -> list[str]:
    """The rows for people, one line a source."""
    rows = source_rows(source, statistics)
    header = ("source", "state", "frames", "skipped", "dropped", "age p50 ms", "p95 ms", "p99 ms")
    counts = ("state", "frames", "skipped", "dropped")
    lines = [(row["name"], *(str(row[name]) for name in counts), *_ages(row["age"])) for row in rows]
    return aligned([header, *lines]) if rows else []


def _ages(age: Mapping[str, float] | None) -> tuple[str, ...]:
    return ("-",) * 3 if age is None else tuple(f"{age[name]:.2f}" for name in ("p50_ms", "p95_ms", "p99_ms"))
