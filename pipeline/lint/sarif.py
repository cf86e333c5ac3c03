"""Findings in the Static Analysis Results Interchange Format 2.1.0 (OASIS), which code hosts show beside a change."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgewright.pipeline.lint import Finding
from edgewright.pipeline.lint.graphs import CheckedGraph

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"


def sarif(graphs: Sequence[CheckedGraph], *, path: Path, version: str) -> dict[str, Any]:
    """One run with a rule for every kind of finding in the graphs of the bundle, or of the ONNX file, at `path`.

    Nodes are logical locations of the file that holds them.
    """
    rules = {finding.rule: finding for graph in graphs for finding in graph.findings}
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
                "results": [_result(finding, _uri(path, graph)) for graph in graphs for finding in graph.findings],
            }
        ],
    }


def _uri(path: Path, graph: CheckedGraph) -> str:
    return quote((path / graph.name if path.is_dir() else path).as_posix())


def _rule(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.rule,
        "shortDescription": {"text": finding.remedy},
        "help": {"text": f"{finding.remedy}. Source: {finding.source}"},
    }


def _result(finding: Finding, uri: str) -> dict[str, Any]:
    place: dict[str, Any] = {"physicalLocation": {"artifactLocation": {"uri": uri}}}
    if finding.where is not None:
        place["logicalLocations"] = [{"fullyQualifiedName": finding.where, "kind": "node"}]
    return {
        "ruleId": finding.rule,
        "level": finding.level,
        "message": {"text": f"{finding.message}; {finding.remedy}"},
        "locations": [place],
    }
