"""The verdict beside a pull request on GitHub."""

import re
from pathlib import Path

import pytest
from tests.pipeline.test_gate import report
from tests.pipeline.test_gate_command import Gate, gate_fixture

from edgewright.pipeline.gate import gate
from edgewright.pipeline.policy import Policy
from edgewright.pipeline.report.annotations import verdict_annotations

# https://docs.github.com/actions, "Workflow commands for GitHub Actions": ::error title={title}::{message}
COMMAND = re.compile(r"::(error|warning|notice) title=([^:,\r\n]*)::([^\r\n]*)")

__all__ = ["gate_fixture"]


def annotated(candidate: dict[str, float], policy: Policy, **state: str | list[str]) -> list[tuple[str, ...]]:
    lines = verdict_annotations(gate(report(candidate, state=state), report({"AP": 0.5, "latency.p50": 10}), policy))
    found = [COMMAND.fullmatch(line) for line in lines]
    assert all(found), lines
    return [match.groups() for match in found if match]


def test_a_failure_is_an_error_and_a_doubt_a_warning() -> None:
    limits = Policy(allowed_drop={"AP": 0.01}, allowed_ratio={"latency.p50": 1.1})
    kinds = annotated({"AP": 0.4, "latency.p50": 12}, limits, disturbed=["the machine was hot"])
    assert [kind for kind, _, _ in kinds] == ["error", "warning"]
    assert kinds[0][2] == "AP 0.400, baseline 0.500, allowed drop 0.01"


def test_a_verdict_that_passed_is_a_notice() -> None:
    ((kind, _, message),) = annotated({"AP": 0.5}, Policy(allowed_drop={"AP": 0.01}))
    assert (kind, message) == ("notice", "PASSED: 1 of 1 limits hold")


def test_no_label_can_end_the_command_or_start_another() -> None:
    name = "AP/50% off,\n::error::pwned"
    lines = verdict_annotations(gate(report({name: 0.1}), report({name: 0.5}), Policy(allowed_drop={name: 0.01})))
    assert len(lines) == 1
    match = COMMAND.fullmatch(lines[0])
    assert match is not None
    assert "50%25 off%2C%0A%3A%3Aerror" in match[2]
    assert "%0A::error::pwned" in match[3]


def test_at_most_ten_of_a_kind_are_written() -> None:
    # GitHub: 10 warning and 10 error annotations for each step.
    values = {f"AP/{n}": 0.1 for n in range(30)}
    lines = verdict_annotations(
        gate(report(values), report(dict.fromkeys(values, 0.5)), Policy(allowed_drop={"AP/*": 0.01}))
    )
    assert len(lines) == 10


@pytest.mark.parametrize(
    ("environment", "words", "annotates"),
    [
        ({}, [], False),
        ({"GITHUB_ACTIONS": "true"}, [], True),
        ({"GITHUB_ACTIONS": "true"}, ["--annotations", "none"], False),
        ({}, ["--annotations", "github"], True),
    ],
)
def test_a_job_of_github_actions_is_annotated_by_itself(
    gate: Gate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    words: list[str],
    annotates: bool,
) -> None:
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    (tmp_path / "summary.md").write_text("before\n", encoding="utf-8")
    status, out, err = gate("poor.json", "--baseline", "base.json", "--policy", "policy.yaml", *words)
    assert (status, out.startswith("FAILED: AP")) == (1, True)
    assert err.startswith("::error title=edgewright gate%3A nano%2C AP (fail)::AP 0.259") is annotates
    summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert summary.startswith("before\n### ❌ FAILED: AP 0.259") is annotates
