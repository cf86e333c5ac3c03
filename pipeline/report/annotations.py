"""A verdict as annotations of GitHub Actions: https://docs.github.com/actions, "Workflow commands"."""

from edgewright.pipeline.verdict import Finding, Verdict

# GitHub shows ten of a kind for each step; the first are the first of the policy.
_MOST = 10


def verdict_annotations(verdict: Verdict) -> list[str]:
    """A line for every limit that fails (error) or is in doubt (warning), and one (notice) for a verdict that passed."""
    blocking = [finding for finding in verdict.findings if finding.blocks]
    lines = [_line("error", finding, verdict) for finding in blocking[:_MOST]]
    lines += [_line("warning", finding, verdict) for finding in verdict.warnings[:_MOST]]
    if verdict.passed:
        lines.append(
            f"::notice title={_property(f'edgewright gate: {verdict.candidate.name}')}::{_data(verdict.headline)}"
        )
    return lines


def _line(kind: str, finding: Finding, verdict: Verdict) -> str:
    title = f"edgewright gate: {verdict.candidate.name}, {finding.metric} ({finding.status})"
    return f"::{kind} title={_property(title)}::{_data(finding.sentence)}"


def _data(text: str) -> str:
    """Escaped as the runner reads it (actions/toolkit, core/src/command.ts, escapeData): a line end would end the command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
