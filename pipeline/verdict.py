"""What the gate says of a candidate."""

from typing import Literal

from pydantic import JsonValue

from edgewright.pipeline.policy import Policy
from edgewright.pipeline.report.schema import BundleIdentity, DataIdentity
from edgewright.runtime.spec import Strict

FORMAT = 1

Status = Literal["pass", "fail", "missing"]


class Finding(Strict):
    """One rule on one metric; `limit` is the policy's number, `bound` what it means for the candidate's value."""

    rule: str
    metric: str
    status: Status
    sentence: str
    unit: str
    higher_is_better: bool | None
    candidate: float | None
    baseline: float | None
    limit: float
    bound: float | None


class Verdict(Strict):
    """Whether the candidate may ship, with a finding for every limit, and all that was compared."""

    format: int = FORMAT
    passed: bool
    headline: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    candidate: BundleIdentity
    baseline: BundleIdentity | None
    data: DataIdentity | None
    device: dict[str, JsonValue]
    policy: Policy
    created: str
