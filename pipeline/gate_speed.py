"""Judging what moves with the rest that a device does: speed and power."""

from typing import Any

from edgewright.pipeline.ledger.disturbance import may_be_baseline
from edgewright.pipeline.report.schema import LatencyRatio, Measurement, Report
from edgewright.pipeline.statistics import Outcome

_SLOWED = ("latency.", "throughput", "cold_start", "single_stream.", "multi_stream.", "offline.")
# A throttled device draws less, one that others work on draws more.
_MOVED = ("watts", "energy_per_frame")
# A value that is further than this factor from its bound is so whatever disturbed it.
_EXPLAINED = 2.0


def ratio_limit(section: str, limit: float, found: LatencyRatio) -> float:
    """The largest ratio that a limit of `allowed_ratio` or `allowed_rise` allows of what was measured in turn."""
    return limit if section == "allowed_ratio" else 1 + limit / found.baseline


def judge_ratio(found: LatencyRatio, limit: float) -> Outcome:
    """Pass when the interval of the ratio ends within the limit, fail when it begins beyond it, else undecided.

    On a machine whose noise is larger than the room that the limit leaves, the interval is widened by the noise.
    """
    low, high = found.interval
    if found.noise > limit - 1:
        low, high = low / (1 + found.noise), high * (1 + found.noise)
    return "pass" if high <= limit else "fail" if low > limit else "undecided"


def described_ratio(found: LatencyRatio) -> str:
    """The ratio with its interval in words."""
    low, high = found.interval
    return f"ratio {found.ratio:.3f} ({low:.3f} to {high:.3f}) in turn"


def ratio_doubt(found: LatencyRatio, limit: float) -> str:
    """Why the ratio is undecided."""
    if found.noise > limit - 1:
        return f"undecided: on this machine the baseline was up to {found.noise:.1%} off itself, close other programs"
    return "undecided: the interval holds the limit, raise --seconds"


def as_measurements(found: LatencyRatio, unit: str = "ms") -> tuple[Measurement, Measurement]:
    """Candidate and baseline as they were measured in turn."""
    ours, theirs = (
        Measurement(name=found.name, value=value, unit=unit, higher_is_better=False)
        for value in (found.candidate, found.baseline)
    )
    return ours, theirs


def ratio_evidence(found: LatencyRatio | None) -> dict[str, Any]:
    """The fields of a finding that a ratio fills."""
    if found is None:
        return {}
    return {"ratio": found.ratio, "ratio_interval": found.interval, "noise": found.noise}


def disturbance_doubt(
    ours: Measurement, bound: float, outcome: Outcome, candidate: Report, baseline: Report | None
) -> str:
    """Why the outcome of comparing a value with its bound is in doubt in view of what disturbed the runs; "" when it is not.

    What disturbs a device slows it down, by half at most as far as an excuse goes. So a candidate that holds a limit in spite
    of it holds it all the more, and one that is too slow even beside a disturbed baseline fails all the more. Power may move
    either way.
    """
    if not ours.name.startswith((*_SLOWED, *_MOVED)) or _far_apart(ours.value, bound):
        return ""
    either_way = ours.name.startswith(_MOVED)
    sides = {"candidate": candidate if either_way or outcome == "fail" else None}
    sides["baseline"] = baseline if either_way or outcome == "pass" else None
    for side, report in sides.items():
        if report is not None and (reasons := may_be_baseline(report)):
            return f"undecided: the {side}'s run was disturbed ({reasons[0]}), measure again on a calm device"
    return ""


def _far_apart(value: float, bound: float) -> bool:
    low, high = sorted((abs(value), abs(bound)))
    return low * _EXPLAINED < high


def improved(ours: Measurement | None, theirs: Measurement | None) -> bool:
    """Whether the candidate is no worse than the baseline."""
    if ours is None or theirs is None:
        return False
    return ours.value >= theirs.value if ours.higher_is_better else ours.value <= theirs.value
