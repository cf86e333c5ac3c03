"""The gate: a candidate's report against a baseline's, under a policy."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from edgewright.pipeline.comparability import check_comparable
from edgewright.pipeline.differences import Differences, described, doubt, resampled_differences
from edgewright.pipeline.gate_speed import (
    as_measurements,
    described_ratio,
    disturbance_doubt,
    improved,
    judge_ratio,
    ratio_doubt,
    ratio_evidence,
    ratio_limit,
)
from edgewright.pipeline.per_image import PerImage
from edgewright.pipeline.policy import LIMIT_SECTIONS, Policy
from edgewright.pipeline.report.numbers import shown
from edgewright.pipeline.report.schema import LatencyRatio, Measurement, Report, utc_now
from edgewright.pipeline.statistics import Difference, Judgement, Outcome, judge
from edgewright.pipeline.verdict import Finding, Status, Verdict, doubtful
from edgewright.runtime.errors import DataError, UsageError
from edgewright.runtime.plugins import suggestion

# Sums and products of decimal fractions are off in the last bits: 0.309 - 0.304 > 0.005 in binary.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class _Rule:
    """A section of the policy: what it is called in a sentence, the direction it is for, and the bound that it sets."""

    words: str
    higher_is_better: bool | None
    needs_baseline: bool
    bound: Callable[[float, float], float]


_RULES: Mapping[str, _Rule] = {
    "floors": _Rule("floor", True, False, lambda limit, _: limit),
    "budgets": _Rule("budget", False, False, lambda limit, _: limit),
    "allowed_drop": _Rule("allowed drop", True, True, lambda limit, baseline: baseline - limit),
    "allowed_rise": _Rule("allowed rise", False, True, lambda limit, baseline: baseline + limit),
    # limit * baseline where the baseline is positive; a negative one is worse in the same direction.
    "allowed_ratio": _Rule("allowed ratio", None, True, lambda limit, baseline: baseline + (limit - 1) * abs(baseline)),
}


@dataclass(frozen=True)
class _Family:
    """The metrics that the policy limits by one name or pattern of a section."""

    section: str
    limit: float
    metrics: tuple[str, ...]


def gate(
    candidate: Report,
    baseline: Report | None,
    policy: Policy,
    *,
    per_image: tuple[PerImage | None, PerImage | None] = (None, None),
) -> Verdict:
    """The verdict on `candidate`; a baseline is needed only by the policy's relative rules.

    With the results of candidate and baseline `per_image`, drops of accuracy are judged by their intervals, else by the two
    values; and so are latencies that were measured in turn with the baseline's. DataError for reports without measurements or
    that cannot be compared, UsageError for a rule that does not fit its metric or has no baseline. A metric that is missing,
    or is not a number, never passes.
    """
    notes = _check(candidate, baseline, policy)
    limits = policy.for_device(candidate.device)
    families = [
        family
        for section in LIMIT_SECTIONS
        for family in _families(section, getattr(limits, section), candidate, baseline)
    ]
    differences = _differences(families, candidate, baseline, policy, per_image)
    findings = tuple(
        _judge(family, metric, (candidate, baseline), differences.get(number, metric), policy)
        for number, family in enumerate(families)
        for metric in family.metrics
    )
    return Verdict(
        passed=not any(finding.blocks for finding in findings),
        headline=_headline(findings, policy),
        findings=findings,
        notes=(*_warnings(findings, policy), *notes, *differences.notes),
        candidate=candidate.bundle,
        baseline=baseline.bundle if baseline else None,
        data=candidate.data,
        device=candidate.device,
        policy=policy,
        created=utc_now(),
    )


def _check(candidate: Report, baseline: Report | None, policy: Policy) -> tuple[str, ...]:
    for side, report in (("candidate", candidate), ("baseline", baseline)):
        if report is not None and not report.measurements:
            raise DataError(
                f"the {side}'s report holds no measurement; run `edgewright evaluate` or `edgewright benchmark`"
            )
    if baseline is None and candidate.against is None and policy.is_relative:
        raise UsageError("the policy compares with a baseline but none is given; add --baseline BASELINE.json")
    return check_comparable(candidate, baseline, policy)


def _families(section: str, limits: Mapping[str, float], *reports: Report | None) -> Iterator[_Family]:
    """The limits of a section, patterns expanded to the measured names; one that matches none stays as it is."""
    measured = dict.fromkeys(m.name for report in reports if report for m in report.measurements)
    for pattern, limit in limits.items():
        matching = [pattern] if pattern in measured else [name for name in measured if fnmatchcase(name, pattern)]
        names = [name for name in matching or [pattern] if name == pattern or name not in limits]
        yield _Family(section, limit, tuple(names))


def _differences(
    families: Sequence[_Family],
    candidate: Report,
    baseline: Report | None,
    policy: Policy,
    per_image: tuple[PerImage | None, PerImage | None],
) -> Differences:
    """What the images say of the accuracies that are compared with the baseline; speed is no matter of images."""
    if baseline is None:
        return Differences()
    accuracy = {
        m.name
        for m in candidate.measurements
        if m.higher_is_better and m.unit == "fraction" and baseline.measurement(m.name)
    }
    names = [
        [name for name in family.metrics if _RULES[family.section].needs_baseline and name in accuracy]
        for family in families
    ]
    return resampled_differences(names, (candidate, per_image[0]), (baseline, per_image[1]), policy)


@dataclass(frozen=True)
class _Answer:
    """What is said of one metric: how the change looks in words, and what leaves a doubt."""

    status: Status
    change: str = ""
    doubt: str = ""
    disturbed: bool = False


def _judge(
    family: _Family, metric: str, reports: tuple[Report, Report | None], difference: Difference | None, policy: Policy
) -> Finding:
    rule, (candidate, baseline) = _RULES[family.section], reports
    ours = candidate.measurement(metric)
    theirs = baseline.measurement(metric) if baseline else None
    in_turn = candidate.against.ratio(metric) if candidate.against and rule.needs_baseline else None
    if in_turn is not None and ours is not None:
        ours, theirs = as_measurements(in_turn, ours.unit)
    known = ours or theirs
    _check_kind(family.section, ours, theirs)
    bound = _bound(rule, family.limit, theirs)
    judgement = _judgement(difference, theirs, bound)
    answer, sentence = _Answer("missing"), _missing(metric, candidate, baseline)
    if ours and bound is not None:
        if in_turn is not None:
            answer = _in_turn(family, in_turn)
        elif judgement and difference:
            answer = _resampled(judgement, difference, ours.unit)
        else:
            answer = _compared(ours, bound, (candidate, baseline if rule.needs_baseline else None), policy)
        sentence = _sentence(rule, family.limit, bound, ours, theirs, answer)
    return Finding(
        rule=family.section,
        metric=metric,
        status=answer.status,
        sentence=sentence,
        unit=known.unit if known else "",
        higher_is_better=known.higher_is_better if known else None,
        candidate=ours.value if ours else None,
        baseline=theirs.value if theirs else None,
        limit=family.limit,
        bound=bound,
        blocks=_blocks(answer, ours, theirs, policy),
        **_evidence(difference, judgement),
        **ratio_evidence(in_turn),
    )


def _in_turn(family: _Family, found: LatencyRatio) -> _Answer:
    most = ratio_limit(family.section, family.limit, found)
    outcome = judge_ratio(found, most)
    return _Answer(outcome, described_ratio(found), ratio_doubt(found, most) if outcome == "undecided" else "")


def _resampled(judgement: Judgement, difference: Difference, unit: str) -> _Answer:
    undecided = judgement.outcome == "undecided"
    words = doubt(judgement, difference, unit) if undecided else ""
    return _Answer(judgement.outcome, described(difference, unit), words)


def _compared(ours: Measurement, bound: float, reports: tuple[Report, Report | None], policy: Policy) -> _Answer:
    """By the values alone, as far as nothing disturbed them."""
    outcome: Outcome = "pass" if _holds(ours, bound) else "fail"
    reason = "" if policy.when_disturbed == "ignore" else disturbance_doubt(ours, bound, outcome, *reports)
    return _Answer("undecided", doubt=reason, disturbed=True) if reason else _Answer(outcome)


def _judgement(difference: Difference | None, baseline: Measurement | None, bound: float | None) -> Judgement | None:
    """A limit that wants an improvement is no margin for a drop: values are compared with it."""
    if difference is None or baseline is None or bound is None or bound > baseline.value:
        return None
    return judge(difference, baseline.value - bound)


def _blocks(answer: _Answer, ours: Measurement | None, theirs: Measurement | None, policy: Policy) -> bool:
    """Improvements never fail, not even those that may be chance."""
    if answer.status != "undecided":
        return answer.status != "pass"
    strict = policy.when_undecided == "fail" or (answer.disturbed and policy.when_disturbed == "fail")
    return strict and not improved(ours, theirs)


def _evidence(difference: Difference | None, judgement: Judgement | None) -> dict[str, Any]:
    if difference is None or judgement is None or not all(map(math.isfinite, difference.interval)):
        return {}
    return {
        "interval": difference.interval,
        "smallest_drop": judgement.smallest_drop,
        "images_needed": judgement.images_needed,
    }


def _bound(rule: _Rule, limit: float, baseline: Measurement | None) -> float | None:
    if baseline is None:
        return None if rule.needs_baseline else limit
    return rule.bound(limit, baseline.value)


def _holds(measured: Measurement, bound: float) -> bool:
    """Comparisons with NaN are false, so NaN does not pass."""
    slack = _ROUNDING * max(abs(measured.value), abs(bound))
    return measured.value >= bound - slack if measured.higher_is_better else measured.value <= bound + slack


def _check_kind(section: str, ours: Measurement | None, theirs: Measurement | None) -> None:
    """Refuse a rule that is for the other direction, and a metric that means different things on the two sides."""
    if ours and theirs and (ours.unit, ours.higher_is_better) != (theirs.unit, theirs.higher_is_better):
        raise DataError(
            f"the reports cannot be compared: {ours.name} is in {_kind(ours)} in the candidate and in {_kind(theirs)} "
            "in the baseline; measure both with the same version"
        )
    wanted, measured = _RULES[section].higher_is_better, ours or theirs
    if measured and wanted is not None and wanted != measured.higher_is_better:
        better, fitting = ("lower", "budgets, allowed_rise") if wanted else ("higher", "floors, allowed_drop")
        raise UsageError(
            f"the policy lists {measured.name} under {section}, but {better} is better for it; "
            f"use {fitting} or allowed_ratio"
        )


def _kind(measured: Measurement) -> str:
    return f"'{measured.unit}', {'higher' if measured.higher_is_better else 'lower'} is better,"


def _headline(findings: Sequence[Finding], policy: Policy) -> str:
    bad = [finding for finding in findings if finding.blocks]
    if bad:
        others = f" (and {len(bad) - 1} more of {len(findings)} limits)" if len(bad) > 1 else ""
        return f"FAILED: {bad[0].sentence}{others}"
    holding = f"{sum(finding.status == 'pass' for finding in findings)} of {len(findings)} limits hold"
    doubts = doubtful(findings, policy)
    if doubts:
        count = "A WARNING" if len(doubts) == 1 else f"{len(doubts)} WARNINGS"
        return f"PASSED WITH {count}: {holding}; {doubts[0].sentence}"
    undecided = sum(finding.status == "undecided" for finding in findings)
    return f"PASSED: {holding}{f', {undecided} undecided' if undecided else ''}"


def _warnings(findings: Sequence[Finding], policy: Policy) -> Iterator[str]:
    """Those that the headline does not name."""
    named = 0 if any(finding.blocks for finding in findings) else 1
    yield from (f"warning: {finding.sentence}" for finding in doubtful(findings, policy)[named:])


def _sentence(
    rule: _Rule, limit: float, bound: float, ours: Measurement, theirs: Measurement | None, answer: _Answer
) -> str:
    parts = [f"{ours.name} {shown(ours.value, ours.unit, apart_from=bound)}"]
    if rule.needs_baseline and theirs:
        parts.append(f"baseline {shown(theirs.value, theirs.unit, apart_from=ours.value)}")
    if answer.change:
        parts.append(answer.change)
    elif rule.higher_is_better is None and theirs and theirs.value:
        parts.append(f"ratio {shown(ours.value / theirs.value, 'fraction', apart_from=limit)}")
    unit = "" if ours.unit == "fraction" or rule.higher_is_better is None else f" {ours.unit}"
    parts.append(f"{rule.words} {limit:g}{unit}")
    return "; ".join((", ".join(parts), *([answer.doubt] if answer.doubt else [])))


def _missing(metric: str, candidate: Report, baseline: Report | None) -> str:
    reports = {"candidate": candidate} | ({"baseline": baseline} if baseline else {})
    sides = [side for side, report in reports.items() if report.measurement(metric) is None]
    known = [measured.name for report in reports.values() for measured in report.measurements]
    hint = suggestion(metric, known) if len(sides) == len(reports) else ""
    if not sides:
        return f"{metric} is compared with the baseline but none is given; add --baseline, or take the limit out"
    where = " nor in the ".join(sides)
    return f"{metric} was not measured in the {where}{hint}; give the report that holds it, or take the limit out"
