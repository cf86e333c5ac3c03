import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.pipeline.gate import gate
from edgewright.pipeline.policy import Policy
from edgewright.pipeline.report.schema import BundleIdentity, DataIdentity, Measurement, Report
from edgewright.runtime.errors import DataError, UsageError

UNITS = {
    "AP": "fraction",
    "AR": "fraction",
    "latency": "ms",
    "peak_rss": "MiB",
    "model_size": "MiB",
    "throughput": "1/s",
}

BUNDLE = BundleIdentity(name="nano", digest="a" * 64, task="detect", precision="fp32")
SETTINGS = {"backend": "ort", "conf_threshold": 0.001, "precision": "fp32"}
DEVICE = {"cpu_model": "Cortex-A78AE", "physical_cores": 6, "isa": ["dotprod", "neon"]}


def measured(name: str, value: float) -> Measurement:
    """A measurement whose unit and direction follow from its name."""
    family = next(family for family in UNITS if name.startswith(family))
    higher = UNITS[family] in ("fraction", "1/s")
    # Past validation: a number that is not one must not pass the gate even so.
    return Measurement.model_construct(
        name=name, value=value, unit=UNITS[family], higher_is_better=higher, interval=None
    )


def report(values: dict[str, float], **changes: Any) -> Report:
    content: dict[str, Any] = {
        "bundle": BUNDLE,
        "data": DataIdentity(uri="coco:val:val.json", digest="d" * 64, images=80),
        "settings": {"evaluate": SETTINGS},
        "device": DEVICE,
        "software": {"onnxruntime": "1.20.0"},
        "state": {},
        "notes": (),
        "created": "2026-01-01T00:00:00+00:00",
        "format": 1,
    }
    return Report.model_construct(
        **content | {"measurements": tuple(measured(*item) for item in values.items())} | changes
    )


def test_a_drop_beyond_the_margin_fails_and_the_headline_names_it() -> None:
    verdict = gate(report({"AP": 0.259}), report({"AP": 0.309}), Policy(allowed_drop={"AP": 0.005}))
    assert not verdict.passed
    assert verdict.headline == "FAILED: AP 0.259, baseline 0.309, allowed drop 0.005"


@pytest.mark.parametrize(
    ("policy", "candidate", "baseline", "headline"),
    [
        ({"floors": {"AP": 0.3}}, {"AP": 0.2996}, {}, "FAILED: AP 0.2996, floor 0.3"),
        (
            {"budgets": {"latency.end_to_end.p99": 50}},
            {"latency.end_to_end.p99": 61.25},
            {},
            "FAILED: latency.end_to_end.p99 61.25 ms, budget 50 ms",
        ),
        (
            {"allowed_rise": {"peak_rss": 20}},
            {"peak_rss": 330},
            {"peak_rss": 300},
            "FAILED: peak_rss 330 MiB, baseline 300 MiB, allowed rise 20 MiB",
        ),
        (
            {"allowed_ratio": {"latency.infer.p50": 1.1}},
            {"latency.infer.p50": 12},
            {"latency.infer.p50": 10},
            "FAILED: latency.infer.p50 12 ms, baseline 10 ms, ratio 1.200, allowed ratio 1.1",
        ),
        (
            {"allowed_ratio": {"throughput": 0.9}},
            {"throughput": 80},
            {"throughput": 100},
            "FAILED: throughput 80 1/s, baseline 100 1/s, ratio 0.800, allowed ratio 0.9",
        ),
        (
            {"allowed_drop": {"AP": 0.00001}},
            {"AP": 0.30912},
            {"AP": 0.30914},
            "FAILED: AP 0.30912, baseline 0.30914, allowed drop 1e-05",
        ),
        (
            {"floors": {"AP": 0.3}, "allowed_drop": {"AP": 0.01}},
            {"AP": 0.2},
            {"AP": 0.4},
            "FAILED: AP 0.200, floor 0.3 (and 1 more of 2 limits)",
        ),
        (
            {"floors": {"AP": 0.3}, "budgets": {"model_size": 4}},
            {"AP": 0.3, "model_size": 3.5},
            {},
            "PASSED: 2 of 2 limits hold",
        ),
    ],
)
def test_every_kind_of_limit_says_what_was_measured_and_what_was_allowed(
    policy: dict[str, Any], candidate: dict[str, float], baseline: dict[str, float], headline: str
) -> None:
    verdict = gate(report(candidate), report(baseline) if baseline else None, Policy(**policy))
    assert verdict.headline == headline


def test_a_drop_of_exactly_the_margin_passes_in_spite_of_binary_fractions() -> None:
    assert 0.309 - 0.304 > 0.005
    assert gate(report({"AP": 0.304}), report({"AP": 0.309}), Policy(allowed_drop={"AP": 0.005})).passed


def test_a_pattern_limits_every_class_and_an_exact_name_overrides_it() -> None:
    policy = Policy(allowed_drop={"AP/*": 0.01, "AP/[a]|b": 0.2})
    baseline = report({"AP": 0.5, "AP/cat": 0.5, "AP/[a]|b": 0.5, "AP/traffic light": 0.5})
    verdict = gate(report({"AP": 0.1, "AP/cat": 0.48, "AP/[a]|b": 0.4, "AP/traffic light": 0.5}), baseline, policy)
    assert {f.metric: (f.status, f.limit) for f in verdict.findings} == {
        "AP/cat": ("fail", 0.01),
        "AP/[a]|b": ("pass", 0.2),
        "AP/traffic light": ("pass", 0.01),
    }


@pytest.mark.parametrize(
    ("candidate", "baseline", "sentence"),
    [
        ({"AR1": 0.3}, {"AP": 0.3}, "AP was not measured in the candidate"),
        ({"AP": 0.3}, {"AR1": 0.3}, "AP was not measured in the baseline"),
        (
            {"AP50": 0.3},
            {"AP50": 0.3},
            "AP was not measured in the candidate nor in the baseline (did you mean 'AP50'?)",
        ),
    ],
)
def test_a_metric_that_was_not_measured_fails(
    candidate: dict[str, float], baseline: dict[str, float], sentence: str
) -> None:
    verdict = gate(report(candidate), report(baseline), Policy(allowed_drop={"AP": 0.1}))
    advice = "give the report that holds it, or take the limit out"
    assert [(f.status, f.sentence) for f in verdict.findings] == [("missing", f"{sentence}; {advice}")]
    assert verdict.headline == f"FAILED: {sentence}; {advice}"


def test_a_class_that_disappeared_and_a_pattern_that_matches_nothing_fail() -> None:
    policy = Policy(allowed_drop={"AP/*": 0.1}, allowed_ratio={"latency.*": 1.1})
    verdict = gate(report({"AP/cat": 0.5}), report({"AP/cat": 0.5, "AP/dog": 0.5}), policy)
    assert {f.metric: f.status for f in verdict.findings} == {
        "AP/cat": "pass",
        "AP/dog": "missing",
        "latency.*": "missing",
    }


@pytest.mark.parametrize(
    "policy", [{"floors": {"AP": 0.0}}, {"allowed_drop": {"AP": 1}}, {"allowed_ratio": {"AP": 0.1}}]
)
@pytest.mark.parametrize(("candidate", "baseline"), [(math.nan, 0.3), (0.3, math.nan), (math.nan, math.nan)])
def test_nan_never_passes(policy: dict[str, Any], candidate: float, baseline: float) -> None:
    verdict = gate(report({"AP": candidate}), report({"AP": baseline}), Policy(**policy))
    assert verdict.passed is ("floors" in policy and candidate == 0.3)


def test_a_rule_for_the_wrong_direction_is_misuse() -> None:
    with pytest.raises(UsageError, match="AP under budgets, but higher is better for it; use floors, allowed_drop"):
        gate(report({"AP": 0.3}), None, Policy(budgets={"AP": 0.5}))
    with pytest.raises(
        UsageError, match="peak_rss under floors, but lower is better for it; use budgets, allowed_rise"
    ):
        gate(report({"peak_rss": 1}), None, Policy(floors={"peak_rss": 0.5}))


def test_a_relative_rule_without_a_baseline_is_misuse() -> None:
    with pytest.raises(UsageError, match="add --baseline"):
        gate(report({"AP": 0.3}), None, Policy(allowed_drop={"AP": 0.1}))


def test_a_report_without_measurements_is_refused() -> None:
    with pytest.raises(DataError, match="the candidate's report holds no measurement"):
        gate(report({}), report({"AP": 0.3}), Policy(floors={"AP": 0.1}))


def test_a_metric_in_two_units_is_refused() -> None:
    percent = Measurement(name="AP", value=30, unit="percent", higher_is_better=True)
    with pytest.raises(DataError, match=r"AP is in 'percent'.* and in 'fraction'"):
        gate(report({}, measurements=(percent,)), report({"AP": 0.3}), Policy(allowed_drop={"AP": 0.1}))


@dataclass(frozen=True)
class Difference:
    field: str
    changes: dict[str, Any]
    ours: str
    theirs: str


DIFFERENCES = [
    Difference(
        "data.digest",
        {"data": DataIdentity(uri="coco:x:x.json", digest="e" * 64, images=9)},
        "eeeeeeeeeeee",
        "dddddddddddd",
    ),
    Difference(
        "settings.evaluate.conf_threshold",
        {"settings": {"evaluate": SETTINGS | {"conf_threshold": 0.25}}},
        "0.25",
        "0.001",
    ),
    Difference("settings.evaluate.nms", {"settings": {"evaluate": SETTINGS | {"nms": "soft"}}}, "soft", "not stated"),
    Difference("device.cpu_model", {"device": DEVICE | {"cpu_model": "Carmel"}}, "Carmel", "Cortex-A78AE"),
    Difference("device.isa", {"device": DEVICE | {"isa": []}}, "none", "dotprod neon"),
    Difference("device.board", {"device": DEVICE | {"board": "Orin"}}, "Orin", "not stated"),
    Difference("bundle.task", {"bundle": BUNDLE.model_copy(update={"task": "semantic"})}, "semantic", "detect"),
]


@pytest.mark.parametrize("case", DIFFERENCES, ids=lambda case: case.field)
def test_reports_that_differ_in_what_produced_them_are_refused_by_field_and_values(case: Difference) -> None:
    policy = Policy(floors={"AP": 0.1})
    with pytest.raises(DataError) as caught:
        gate(report({"AP": 0.3}, **case.changes), report({"AP": 0.3}), policy)
    assert f"{case.field} is {case.ours}" in str(caught.value)
    assert f"in the candidate and {case.theirs}" in str(caught.value)


@pytest.mark.parametrize("case", DIFFERENCES, ids=lambda case: case.field)
def test_a_difference_that_the_policy_allows_is_noted(case: Difference) -> None:
    policy = Policy(floors={"AP": 0.1}, compare_across=(case.field,))
    verdict = gate(report({"AP": 0.3}, **case.changes), report({"AP": 0.3}), policy)
    assert verdict.passed
    assert any(note.startswith(f"{case.field} differs, as the policy allows") for note in verdict.notes)


def test_every_differing_field_is_named() -> None:
    changes = {**DIFFERENCES[0].changes, **DIFFERENCES[3].changes}
    with pytest.raises(DataError, match=r"data\.digest is .*\(different too: device\.cpu_model\)"):
        gate(report({"AP": 0.3}, **changes), report({"AP": 0.3}), Policy(floors={"AP": 0.1}))


def test_precision_and_software_may_differ_and_are_noted() -> None:
    changed: dict[str, Any] = {
        "settings": {"evaluate": SETTINGS | {"precision": "int8"}},
        "software": {"onnxruntime": "1.21.0"},
        "bundle": BUNDLE.model_copy(update={"digest": "b" * 64, "precision": "int8"}),
    }
    verdict = gate(report({"AP": 0.3}, **changed), report({"AP": 0.3}), Policy(floors={"AP": 0.1}))
    assert verdict.notes == (
        "evaluate precision: candidate int8, baseline fp32",
        "software onnxruntime: candidate 1.21.0, baseline 1.20.0",
    )


def test_a_section_of_one_side_only_is_left_to_the_rules() -> None:
    accuracy, speed = (
        report({"AP": 0.3}),
        report({"AP": 0.3, "peak_rss": 9}, settings={"benchmark": {"threads": 1}}, data=None),
    )
    assert gate(accuracy, speed, Policy(floors={"AP": 0.1})).passed
    assert not gate(accuracy, speed, Policy(allowed_ratio={"peak_rss": 1.1})).passed


NAMES = ["AP", "AP50", "AP/cat", "AR100", "latency.infer.p50", "peak_rss", "model_size", "throughput"]
VALUES = st.dictionaries(st.sampled_from(NAMES), st.floats(0, 1e6, allow_subnormal=False), min_size=1)
MARGINS = st.floats(0, 1e3)


def relative_policy(values: dict[str, float], margin: float, data: st.DataObject) -> Policy:
    """Some rule that only compares, and has room for what is equal, for every metric of `values`."""
    sections: dict[str, dict[str, float]] = {"allowed_drop": {}, "allowed_rise": {}, "allowed_ratio": {}}
    for name in values:
        higher = measured(name, 0).higher_is_better
        if data.draw(st.booleans()):
            sections["allowed_ratio"][name] = 1 / (1 + margin) if higher else 1 + margin
        else:
            sections["allowed_drop" if higher else "allowed_rise"][name] = margin
    return Policy.model_validate(sections)


@given(values=VALUES, margin=MARGINS, data=st.data())
def test_a_report_passes_against_itself_under_every_relative_policy(
    values: dict[str, float], margin: float, data: st.DataObject
) -> None:
    assert gate(report(values), report(values), relative_policy(values, margin, data)).passed


@given(values=VALUES, margin=MARGINS, improvement=st.floats(0, 1e6), data=st.data())
def test_an_improvement_never_fails(
    values: dict[str, float], margin: float, improvement: float, data: st.DataObject
) -> None:
    better = {n: v + improvement if measured(n, 0).higher_is_better else v - improvement for n, v in values.items()}
    assert gate(report(better), report(values), relative_policy(values, margin, data)).passed


@given(values=VALUES, margin=MARGINS, excess=st.floats(1e-6, 1), data=st.data())
def test_one_metric_worse_than_its_margin_fails_the_gate_and_is_the_one_named(
    values: dict[str, float], margin: float, excess: float, data: st.DataObject
) -> None:
    policy = relative_policy(values, margin, data)
    name = data.draw(st.sampled_from(sorted(values)))
    ratio, drop, rise = (s.get(name) for s in (policy.allowed_ratio, policy.allowed_drop, policy.allowed_rise))
    worst = values[name] * ratio if ratio else values[name] - (drop or 0) + (rise or 0)
    beyond = excess * (1 + abs(worst))
    changed = values | {name: worst - beyond if measured(name, 0).higher_is_better else worst + beyond}
    verdict = gate(report(changed), report(values), policy)
    assert [finding.metric for finding in verdict.findings if finding.status == "fail"] == [name]
    assert verdict.headline.startswith(f"FAILED: {name} ")


def test_how_fast_an_engine_works_is_of_no_matter_for_accuracy() -> None:
    settings = [
        {"evaluate": {"conf_threshold": 0.001, "threads": threads, "spinning": threads > 1}} for threads in (1, 8)
    ]
    ours, theirs = (report({"AP": 0.3}, settings=each) for each in settings)
    assert gate(ours, theirs, Policy(allowed_drop={"AP": 0.0})).passed
