"""What the gate says of a candidate."""

from collections.abc import Sequence
from typing import Literal

from pydantic import JsonValue

from edgewright.pipeline.policy import Policy
from edgewright.pipeline.report.schema import BundleIdentity, DataIdentity
from edgewright.runtime.spec import Strict

FORMAT = 1

# "undecided": the images are too few, or the machine was too restless, to say whether the limit holds.
Status = Literal["pass", "fail", "missing", "undecided"]


class Finding(Strict):
    """One rule on one metric; `limit` is the policy's number, `bound` what it means for the candidate's value.

    `blocks` says whether it fails the verdict. Where the difference was resampled: `interval` holds candidate minus
    baseline, `smallest_drop` is the true drop that fails in 8 of 10 cases on such images, and about `images_needed` of them
    pass a candidate as good as the baseline in 8 of 10 cases; None when no number would. Where candidate and baseline were
    measured in turn: their `ratio`, its interval, and how far the baseline was from itself, as a share.
    """

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
    blocks: bool
    interval: tuple[float, float] | None = None
    smallest_drop: float | None = None
    images_needed: int | None = None
    ratio: float | None = None
    ratio_interval: tuple[float, float] | None = None
    noise: float | None = None


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

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is undecided and does not fail, where the policy wants it told."""
        return doubtful(self.findings, self.policy)


def doubtful(findings: Sequence[Finding], policy: Policy) -> tuple[Finding, ...]:
    """The findings that a verdict warns of, those that were measured as worse first."""
    if policy.when_undecided == "pass":
        return ()
    found = [finding for finding in findings if finding.status == "undecided" and not finding.blocks]
    return tuple(sorted(found, key=_improved))


def _improved(finding: Finding) -> bool:
    if finding.candidate is None or finding.baseline is None:
        return False
    change = finding.candidate - finding.baseline
    return (change if finding.higher_is_better else -change) >= 0
