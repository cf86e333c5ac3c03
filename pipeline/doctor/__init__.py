"""What this machine has for running bundles, what is wrong with it, and what mends it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue

from edgewright.pipeline.doctor.explain import explain
from edgewright.pipeline.doctor.failures import failure

Status = Literal["ok", "note", "problem", "unknown"]
# How a probe marks a sentence of this project's own errors.
OWN = "error: "


@dataclass(frozen=True)
class Finding:
    """What one check found. A `problem` stops something or makes it wrong, a `note` is worth knowing; `known` is the id of a
    failure in the table."""

    check: str
    status: Status
    found: str
    fix: str = ""
    known: str | None = None
    details: Mapping[str, JsonValue] = field(default_factory=dict)


def known_problem(check: str, name: str, found: str, *, status: Status = "problem") -> Finding:
    """A finding whose cause and fix stand in the table of failures under `name`."""
    entry = failure(name)
    return Finding(check, status, found, entry.fix, name)


def from_error(check: str, what: str, error: str, *, status: Status = "problem") -> Finding:
    """A finding about an error text: with the fix of the failure that it looks like, else with the text alone."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    last = lines[-1][:400] if lines else "it ended without a word"
    entries = explain(error)
    known = entries[0].id if entries else None
    if last.startswith(OWN):
        # A sentence of this project says what to do itself.
        return Finding(check, status, f"{what}: {last.removeprefix(OWN)}", known=known)
    return Finding(check, status, f"{what}: {last}", entries[0].fix if entries else "", known)
