"""A verdict as JUnit XML: every limit is a test case."""

import re

from edgewright.pipeline.verdict import Verdict

# XML 1.0 allows no other characters below a space.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def verdict_junit(verdict: Verdict) -> bytes:
    """The XML document; failures carry the finding's sentence, and so do undecided limits, which count as skipped."""
    from junitparser import JUnitXml, TestCase, TestSuite
    from junitparser.junitparser import Failure, Skipped

    suite = TestSuite("edgewright gate")
    suite.timestamp = verdict.created.partition("+")[0]  # the schema wants no time zone
    suite.add_property("verdict", _clean(verdict.headline))
    suite.add_property("candidate.digest", verdict.candidate.digest)
    if verdict.baseline:
        suite.add_property("baseline.digest", verdict.baseline.digest)
    for finding in verdict.findings:
        case = TestCase(_clean(f"{finding.rule} {finding.metric}"), _clean(f"gate.{verdict.candidate.name}"), 0.0)
        if finding.status != "pass":
            kind = Failure if finding.blocks else Skipped
            case.result = [kind(_clean(finding.sentence), finding.status)]
        suite.add_testcase(case)
    document = JUnitXml("edgewright gate")
    document.add_testsuite(suite)
    document.update_statistics()
    text: bytes = document.tostring()
    return text


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("?", text)
