"""Two reports may be compared only when data, settings and device agree."""

from collections.abc import Iterator, Mapping
from typing import Any

from edgewright.pipeline.policy import Policy
from edgewright.pipeline.report.schema import Report
from edgewright.runtime.errors import DataError

# Settings that may differ: precision is what a release changes and the gate judges, as INT8 against FP32; `frames` is
# where pictures came from, while `frames_digest` says what they are; a version is software.
_FREE_SETTINGS = frozenset({"precision", "precision_hint", "executed_precision", "frames", "engine_version"})
# How fast an engine works, not what it computes: of no matter for accuracy.
_FREE_FOR_ACCURACY = frozenset({"threads", "spinning", "streams", "performance_hint", "cpu_pinning", "cache"})
_NOTED_STATE = ("governor", "frequency_limit_mhz")
_ABSENT = "not stated"


def check_comparable(candidate: Report, baseline: Report, policy: Policy) -> tuple[str, ...]:
    """Notes on what differs and is allowed to; DataError that names every other differing field, the first with values.

    A section that only one side has is not compared: the rules on its measurements report them as missing.
    """
    differences = list(_differences(candidate, baseline))
    forbidden = [d for d in differences if not policy.allows_difference(d[0])]
    if forbidden:
        name, ours, theirs = forbidden[0]
        others = ", ".join(field for field, _, _ in forbidden[1:])
        raise DataError(
            f"the reports cannot be compared: {name} is {ours} in the candidate and {theirs} in the baseline"
            f"{f' (different too: {others})' if others else ''}; measure both alike, "
            "or allow the difference by `compare_across` in the policy, as the built-in policy accuracy_anywhere does for engines"
        )
    allowed = [f"{name} differs, as the policy allows: candidate {a}, baseline {b}" for name, a, b in differences]
    return (*allowed, *_notes(candidate, baseline))


def _differences(a: Report, b: Report) -> Iterator[tuple[str, str, str]]:
    """Field, value of `a`, value of `b` of all that must agree."""
    if a.bundle.task != b.bundle.task:
        yield "bundle.task", a.bundle.task, b.bundle.task
    if a.data and b.data and a.data.digest != b.data.digest:
        ours, theirs = (f"{d.digest[:12]} ({d.images} images of {d.uri})" for d in (a.data, b.data))
        yield "data.digest", ours, theirs
    for verb in a.settings.keys() & b.settings.keys():
        for key, ours, theirs in _differing(a.settings[verb], b.settings[verb]):
            if key not in _free_settings(verb):
                yield f"settings.{verb}.{key}", ours, theirs
    for key, ours, theirs in _differing(a.device, b.device):
        yield f"device.{key}", ours, theirs


def _free_settings(verb: str) -> frozenset[str]:
    return _FREE_SETTINGS | _FREE_FOR_ACCURACY if verb == "evaluate" else _FREE_SETTINGS


def _notes(a: Report, b: Report) -> Iterator[str]:
    """What explains a difference of the measurements without forbidding the comparison."""
    if a.bundle.digest == b.bundle.digest:
        yield "candidate and baseline are the same bundle"
    for verb in sorted(a.settings.keys() & b.settings.keys()):
        for key, ours, theirs in _differing(a.settings[verb], b.settings[verb]):
            if key in _free_settings(verb):
                yield f"{verb} {key}: candidate {ours}, baseline {theirs}"
    for key, ours, theirs in _differing(a.software, b.software):
        yield f"software {key}: candidate {ours}, baseline {theirs}"
    for key, ours, theirs in _differing(a.state, b.state):
        if key in _NOTED_STATE:
            yield f"{key}: candidate {ours}, baseline {theirs}"


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for key in dict.fromkeys((*a, *b)):
        # A setting that does not apply is None, and unknown to reports from before it existed.
        ours, theirs = (_ABSENT if report.get(key) is None else report[key] for report in (a, b))
        if ours != theirs:
            yield key, _shown(ours), _shown(theirs)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
