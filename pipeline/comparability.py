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
_NOTED_STATE = ("governor", "frequency_limit_mhz", "jetson_clocks", "power_source")
_ABSENT = "not stated"


def check_comparable(candidate: Report, baseline: Report | None, policy: Policy) -> tuple[str, ...]:
    """Notes on what differs and is allowed to; DataError that names every other differing field, the first with values.

    A section that only one side has is not compared: the rules on its measurements report them as missing. A baseline that
    the candidate was measured against must be the baseline, and have been run alike.
    """
    found = [*_differences(candidate, baseline), *_differences_in_turn(candidate, baseline)]
    differences = list({difference[0]: difference for difference in reversed(found)}.values())[::-1]
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
    return (*allowed, *_notes(candidate, baseline)) if baseline else tuple(allowed)


def check_same_task_and_data(candidate: Report, baseline: Report) -> tuple[str, ...]:
    """The settings that differ, in words; DataError that names the field where task or data do."""
    found = [*_differences(candidate, baseline)]
    for name, ours, theirs in found:
        if name in ("bundle.task", "data.digest"):
            raise DataError(
                f"the reports cannot be compared: {name} is {ours} in the candidate and {theirs} in the baseline; measure both alike"
            )
    return tuple(f"{name} is {a} in the candidate and {b} in the baseline" for name, a, b in found)


def _differences(a: Report, b: Report | None) -> Iterator[tuple[str, str, str]]:
    """Field, value of `a`, value of `b` of all that must agree."""
    if b is None:
        return
    if a.bundle.task != b.bundle.task:
        yield "bundle.task", a.bundle.task, b.bundle.task
    if a.data and b.data and a.data.digest != b.data.digest:
        ours, theirs = (f"{d.digest[:12]} ({d.images} images of {d.uri})" for d in (a.data, b.data))
        yield "data.digest", ours, theirs
    for verb in a.settings.keys() & b.settings.keys():
        for key, ours, theirs in _differing(a.settings[verb], b.settings[verb]):
            if key not in _free_settings(verb) or _executed_otherwise(key, a.settings[verb], b.settings[verb]):
                yield f"settings.{verb}.{key}", ours, theirs
    for key, ours, theirs in _differing(a.device, b.device):
        yield f"device.{key}", ours, theirs
    sources = [report.state.get("power_source") for report in (a, b) if report.measurement("watts")]
    if len(set(map(str, sources))) > 1:
        yield "state.power_source", _shown(sources[0]), _shown(sources[1])


def _differences_in_turn(a: Report, b: Report | None) -> Iterator[tuple[str, str, str]]:
    if a.against is None:
        return
    if b is not None and a.against.baseline.digest != b.bundle.digest:
        yield "against.baseline.digest", a.against.baseline.digest[:12], b.bundle.digest[:12]
    if b is not None and a.against.baseline.precision != b.bundle.precision:
        yield "against.baseline.precision", a.against.baseline.precision, b.bundle.precision
    if b is None and a.against.baseline.task != a.bundle.task:
        yield "bundle.task", a.bundle.task, a.against.baseline.task
    own = {key: value for key, value in a.settings.get("benchmark", {}).items() if key in a.against.settings}
    for key, ours, theirs in _differing(own, a.against.settings):
        if key not in _FREE_SETTINGS or _executed_otherwise(key, own, a.against.settings):
            yield f"settings.benchmark.{key}", ours, theirs


def _executed_otherwise(key: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether an engine did not do what both were asked for, as when it has no int8 kernels and computes in fp32."""
    return key == "executed_precision" and a.get("precision") == b.get("precision")


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
