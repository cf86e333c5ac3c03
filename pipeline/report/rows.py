"""A verdict's findings as cells of a table, alike in text, Markdown and HTML."""

from dataclasses import dataclass

from edgewright.pipeline.report.numbers import shown, signed
from edgewright.pipeline.verdict import Finding, Verdict

_DASH = "–"


@dataclass(frozen=True)
class Row:
    """One finding in words; `status` is "pass", "fail", "missing" or "undecided"."""

    status: str
    metric: str
    candidate: str
    baseline: str
    change: str
    limit: str


def failed_rows(verdict: Verdict) -> list[Row]:
    """The limits that do not hold, or may not, in the policy's order."""
    return [_row(finding) for finding in verdict.findings if finding.status != "pass"]


def passed_rows(verdict: Verdict) -> list[Row]:
    """The limits that hold, in the policy's order."""
    return [_row(finding) for finding in verdict.findings if finding.status == "pass"]


def comparison(verdict: Verdict) -> list[tuple[str, str]]:
    """What was compared with what, on what."""
    bundles = {"candidate": verdict.candidate, "baseline": verdict.baseline}
    facts = [(side, f"{b.name} {b.precision} ({b.digest[:12]})") for side, b in bundles.items() if b]
    if verdict.data:
        facts.append(("data", f"{verdict.data.images} images of {verdict.data.uri} ({verdict.data.digest[:12]})"))
    machine = [str(verdict.device[key]) for key in ("board", "cpu_model", "accelerator") if verdict.device.get(key)]
    return [*facts, ("device", ", ".join(machine))] if machine else facts


def _row(finding: Finding) -> Row:
    return Row(
        status=finding.status,
        metric=finding.metric,
        candidate=_value(finding.candidate, finding.unit, apart_from=finding.bound),
        baseline=_value(finding.baseline, finding.unit, apart_from=finding.candidate),
        change=_change(finding),
        limit=_limit(finding),
    )


def _value(value: float | None, unit: str, *, apart_from: float | None) -> str:
    return _DASH if value is None else shown(value, unit, apart_from=apart_from)


def _change(finding: Finding) -> str:
    """The signed difference, with its interval or in percent, or the ratio where both were measured in turn."""
    if finding.candidate is None or finding.baseline is None:
        return _DASH
    difference = finding.candidate - finding.baseline
    absolute = signed(difference, finding.unit)
    if finding.interval is not None:
        bounds = [signed(bound, finding.unit) for bound in finding.interval]
        return f"{absolute} ({bounds[0]} to {bounds[1]})"
    if finding.ratio is not None and finding.ratio_interval is not None:
        low, high = finding.ratio_interval
        return f"× {finding.ratio:.3f} ({low:.3f} to {high:.3f})"
    if finding.unit == "fraction" or finding.baseline == 0 or difference == 0:
        return absolute
    return f"{absolute} ({absolute[0]}{abs(difference / finding.baseline):.1%})"


def _limit(finding: Finding) -> str:
    absolute = f"{finding.limit:g}" if finding.unit in ("fraction", "") else f"{finding.limit:g} {finding.unit}"
    words = {
        "floors": f"≥ {absolute}",
        "budgets": f"≤ {absolute}",
        "allowed_drop": f"drop ≤ {absolute}",
        "allowed_rise": f"rise ≤ {absolute}",
    }
    return words.get(finding.rule, f"ratio {'≥' if finding.higher_is_better else '≤'} {finding.limit:g}")
