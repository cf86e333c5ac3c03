"""Findings in the Static Analysis Results Interchange Format 2.1.0 (OASIS), which code hosts show beside a change."""

from collections.abc import Sequence
from typing import Any

from edgewright.pipeline.lint import Finding

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"


def sarif(findings: Sequence[Finding], *, artifact: str, version: str) -> dict[str, Any]:
    """One run with a rule for every kind of finding; nodes are logical locations of the file `artifact`."""
    rules = {finding.rule: finding for finding in findings}
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "edgewright lint",
                        "version": version,
                        "rules": [_rule(finding) for finding in rules.values()],
                    }
                },
                "results": [_result(finding, artifact) for finding in findings],
            }
        ],
    }


def _rule(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.rule,
        "shortDescription": {"text": finding.remedy},
        "help": {"text": f"{finding.remedy}. Source: {finding.source}"},
    }


def _result(finding: Finding, artifact: str) -> dict[str, Any]:
    place: dict[str, Any] = {"physicalLocation": {"artifactLocation": {"uri": artifact}}}
    if finding.where is not None:
        place["logicalLocations"] = [{"fullyQualifiedName": finding.where, "kind": "node"}]
    return {
        "ruleId": finding.rule,
        "level": finding.level,
        "message": {"text": f"{finding.message}; {finding.remedy}"},
        "locations": [place],
    }
