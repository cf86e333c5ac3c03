"""Whether what the device did spoils a measurement."""

from collections.abc import Iterator
from pathlib import Path

from edgewright.pipeline.ledger.sampling import Record
from edgewright.pipeline.report.schema import Report
from edgewright.runtime.cpu import usable_cores

# Shares beyond which a median moves by more than a percent or so.
_MOST_OTHERS = 0.10  # of the time of all usable cores
_MOST_STOLEN = 0.02  # of the time of all usable cores
_MOST_WAITING = 0.01  # of the time
_MOST_LIMIT_FALL = 0.01  # of the clock limit


def disturbances(record: Record, root: Path = Path("/")) -> tuple[str, ...]:
    """Every reason why what was measured meanwhile is not what the device can do; none for a calm device."""
    return tuple(_reasons(record, usable_cores(root)))


def may_be_baseline(report: Report) -> tuple[str, ...]:
    """The reasons why the report may not become a baseline; none when it may."""
    disturbed = report.state.get("disturbed")
    return tuple(map(str, disturbed)) if isinstance(disturbed, list) else ()


def _reasons(record: Record, cores: int) -> Iterator[str]:
    gone, seconds = record.counters, record.seconds
    if heat := gone.get("heat_throttles", 0):
        yield f"the processor was throttled by heat {heat:.0f} times"
    if over := gone.get("over_current_throttles", 0):
        yield f"the module was throttled by over-current {over:.0f} times"
    for complaint in record.complaints:
        yield f"the hardware reports: {complaint}"
    limit = record.gauges.get("cpu_limit_mhz")
    if limit is not None and limit.least < limit.most * (1 - _MOST_LIMIT_FALL):
        yield f"the clock limit of the processor moved between {limit.least:.0f} and {limit.most:.0f} MHz"
    others = (gone.get("busy_seconds", 0.0) - gone.get("own_seconds", 0.0)) / seconds
    if others > _MOST_OTHERS * cores:
        yield f"other programs kept {others:.2f} of {cores} cores busy"
    stolen = gone.get("stolen_seconds", 0.0) / seconds
    if stolen > _MOST_STOLEN * cores:
        yield f"the hypervisor gave {stolen:.2f} of {cores} cores to others"
    if (waited := gone.get("quota_wait_seconds", 0.0) / seconds) > _MOST_WAITING:
        yield f"the container's CPU quota was used up for {waited:.1%} of the time"
    if (waited := gone.get("memory_wait_seconds", 0.0) / seconds) > _MOST_WAITING:
        yield f"programs waited for memory for {waited:.1%} of the time"
