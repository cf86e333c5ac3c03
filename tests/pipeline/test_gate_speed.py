"""Speed and power in the gate: disturbed runs, ratios measured in turn, limits of one device."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pipeline.test_gate import BUNDLE, DEVICE, report

from edgewright.pipeline.gate import gate
from edgewright.pipeline.policy import Policy
from edgewright.pipeline.report.schema import Against, LatencyRatio, Measurement, Report
from edgewright.runtime.errors import DataError, UsageError

P50 = "latency.end_to_end.p50"
DISTURBED = {"disturbed": ["the processor was throttled by heat 3 times"]}
RATIO = Policy(allowed_ratio={P50: 1.1})


def in_turn(candidate: float, baseline: float, *, spread: float = 0.0, noise: float = 0.0, **changes: Any) -> Report:
    """A candidate's report with one latency that was measured in turn."""
    ratio = candidate / baseline
    found = LatencyRatio(
        name=P50, candidate=candidate, baseline=baseline, ratio=ratio,
        interval=(ratio / (1 + spread), ratio * (1 + spread)), noise=noise,
    )  # fmt: skip
    against = Against(baseline=BUNDLE, settings={}, launches=3, rounds=18, ratios=(found,))
    return report({P50: candidate}, against=against, **changes)


@pytest.mark.parametrize(
    ("candidate", "baseline", "ours", "theirs", "status"),
    [
        (10, 10, {}, {}, "pass"),
        (12, 10, {}, {}, "fail"),
        # A disturbance only makes slow: what holds in spite of it holds, what fails beside it fails.
        (10, 10, DISTURBED, {}, "pass"),
        (12, 10, DISTURBED, {}, "undecided"),
        (10, 10, {}, DISTURBED, "undecided"),
        (12, 10, {}, DISTURBED, "fail"),
        # No disturbance explains more than a factor of two.
        (23, 10, DISTURBED, {}, "fail"),
        (5, 10, {}, DISTURBED, "pass"),
    ],
)
def test_a_disturbed_run_leaves_in_doubt_what_it_may_have_changed(
    candidate: float, baseline: float, ours: dict[str, Any], theirs: dict[str, Any], status: str
) -> None:
    verdict = gate(report({P50: candidate}, state=ours), report({P50: baseline}, state=theirs), RATIO)
    (finding,) = verdict.findings
    assert finding.status == status
    assert ("run was disturbed (the processor was throttled by heat 3 times)" in finding.sentence) is (
        status == "undecided"
    )


def test_how_the_baseline_was_run_is_of_no_matter_for_an_absolute_limit() -> None:
    verdict = gate(report({P50: 10}), report({P50: 10}, state=DISTURBED), Policy(budgets={P50: 11}))
    assert verdict.headline == "PASSED: 1 of 1 limits hold"


@pytest.mark.parametrize(
    ("policy", "passed"),
    [
        ({}, True),
        ({"when_undecided": "fail"}, False),
        ({"when_disturbed": "fail"}, False),
        ({"when_disturbed": "ignore"}, False),
        ({"when_undecided": "pass", "when_disturbed": "fail"}, False),
    ],
)
def test_the_policy_says_what_becomes_of_a_disturbed_run(policy: dict[str, Any], passed: bool) -> None:
    candidate = report({P50: 12}, state=DISTURBED)
    verdict = gate(candidate, report({P50: 10}), Policy(allowed_ratio={P50: 1.1}, **policy))
    assert verdict.passed is passed
    if policy.get("when_disturbed") == "ignore":
        assert verdict.findings[0].status == "fail"


def test_a_disturbance_is_of_no_matter_for_accuracy_and_memory() -> None:
    limits = Policy(allowed_drop={"AP": 0.01}, allowed_ratio={"peak_rss": 1.1})
    verdict = gate(report({"AP": 0.2, "peak_rss": 9}, state=DISTURBED), report({"AP": 0.3, "peak_rss": 5}), limits)
    assert [finding.status for finding in verdict.findings] == ["fail", "fail"]


@pytest.mark.parametrize("candidate", [4.0, 8.0])
def test_power_is_in_doubt_whichever_way_it_moved(candidate: float) -> None:
    def drawn(watts: float, **state: Any) -> Report:
        measured = Measurement(name="watts", value=watts, unit="W", higher_is_better=False)
        return report({}, measurements=(measured,), state={"power_source": "VDD_IN", **state})

    verdict = gate(drawn(candidate, **DISTURBED), drawn(5.0), Policy(budgets={"watts": 7}))
    assert verdict.findings[0].status == "undecided"
    other = drawn(5.0, power_source="package-0")
    with pytest.raises(
        DataError, match=r"state\.power_source is VDD_IN in the candidate and package-0 in the baseline"
    ):
        gate(drawn(5.0), other, Policy(budgets={"watts": 7}))


@pytest.mark.parametrize(
    ("candidate", "status", "words"),
    [
        (in_turn(10.2, 10, spread=0.02), "pass", "ratio 1.020 (1.000 to 1.040) in turn, allowed ratio 1.1"),
        (in_turn(12, 10, spread=0.02), "fail", "ratio 1.200 (1.176 to 1.224) in turn, allowed ratio 1.1"),
        (in_turn(11, 10, spread=0.02), "undecided", "allowed ratio 1.1; undecided: the interval holds the limit"),
        (in_turn(10.2, 10, spread=0.02, noise=0.3), "undecided", "the baseline was up to 30.0% off itself"),
    ],
)
def test_what_was_measured_in_turn_is_judged_by_its_interval(candidate: Report, status: str, words: str) -> None:
    # The value that the baseline had on another day, 99 ms, is of no matter.
    (finding,) = gate(candidate, report({P50: 99}), RATIO).findings
    assert finding.status == status
    assert words in finding.sentence
    assert finding.sentence.startswith(f"{P50} {candidate.measurements[0].value:g} ms, baseline 10 ms, ")


def test_a_rise_is_judged_as_the_ratio_that_it_is() -> None:
    limits = Policy(allowed_rise={P50: 1})
    statuses = [gate(in_turn(ms, 10, spread=0.01), None, limits).findings[0].status for ms in (10.5, 11, 11.5)]
    assert statuses == ["pass", "undecided", "fail"]


def test_a_disturbed_run_in_turn_is_judged_by_its_own_noise() -> None:
    assert gate(in_turn(12, 10, spread=0.02, state=DISTURBED), None, RATIO).findings[0].status == "fail"


@given(
    candidate=st.floats(0.1, 100),
    faster=st.floats(1, 10),
    spread=st.floats(0, 3),
    noise=st.floats(0, 3),
    room=st.floats(0, 2),
    undecided=st.sampled_from(["fail", "warn", "pass"]),
    disturbed=st.sampled_from(["undecided", "fail", "ignore"]),
    states=st.tuples(st.sampled_from([{}, DISTURBED]), st.sampled_from([{}, DISTURBED])),
    turn=st.booleans(),
)
def test_a_latency_that_improved_never_fails(
    candidate: float,
    faster: float,
    spread: float,
    noise: float,
    room: float,
    undecided: Any,
    disturbed: Any,
    states: tuple[dict[str, Any], dict[str, Any]],
    turn: bool,
) -> None:
    baseline = candidate * faster
    limits: dict[str, Any] = {
        "allowed_ratio": {P50: 1 + room},
        "when_undecided": undecided,
        "when_disturbed": disturbed,
    }
    ours = in_turn(candidate, baseline, spread=spread, noise=noise) if turn else report({P50: candidate})
    ours = ours.model_copy(update={"state": states[0]})
    assert gate(ours, report({P50: baseline}, state=states[1]), Policy(**limits)).passed


ORIN = {"board": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", "cpu_model": "Cortex-A78AE"}


def test_a_limit_of_one_device_stands_in_place_of_the_general_one() -> None:
    limits = Policy(budgets={P50: 10, f"{P50} on device *orin nano*": 20, f"{P50} on device *Xavier*": 1})
    assert not gate(report({P50: 15}), None, limits).passed
    verdict = gate(report({P50: 15}, device=ORIN), None, limits)
    assert [(finding.metric, finding.limit, finding.status) for finding in verdict.findings] == [(P50, 20, "pass")]


def test_patterns_may_be_of_one_device_too() -> None:
    limits = Policy(budgets={"latency.* on device Cortex-A78AE": 10})
    assert not gate(report({P50: 15, "latency.infer.p50": 3}), None, limits).passed
    assert DEVICE["cpu_model"] == "Cortex-A78AE"


def test_a_policy_for_other_devices_only_is_misuse() -> None:
    with pytest.raises(UsageError, match=r"for another device than this one \(Cortex-A78AE\)"):
        gate(report({P50: 15}), None, Policy(budgets={f"{P50} on device *Xavier*": 1}))


def test_an_engine_that_did_not_do_what_both_asked_for_is_refused_by_field() -> None:
    def asked(executed: str) -> Report:
        return report({"AP": 0.3}, settings={"evaluate": {"precision": "int8", "executed_precision": executed}})

    with pytest.raises(DataError, match=r"settings\.evaluate\.executed_precision is fp32 in the candidate and int8"):
        gate(asked("fp32"), asked("int8"), Policy(floors={"AP": 0.1}))
